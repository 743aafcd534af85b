SLIPS = {}
def python_with(name, vision, place): return vision
