"""From a source to the folder to publish: source, tokenizer, weights, judgement."""
