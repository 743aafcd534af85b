"""What a person wants: recipe, policy, and how both are read and written."""
