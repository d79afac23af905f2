"""What a model card is made of: one file per section, plain facts in, Markdown out."""
