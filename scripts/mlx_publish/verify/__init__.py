"""`verify`: for anyone, whether what was published is what its evidence says, and whether it can be made again."""
