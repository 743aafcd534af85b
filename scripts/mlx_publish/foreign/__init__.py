"""What strangers write, read within bounds: the only place that parses their JSON and judges their YAML."""
