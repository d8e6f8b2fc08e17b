"""The label store: texts to be judged, judgements by several people, and the formats to exchange them."""
