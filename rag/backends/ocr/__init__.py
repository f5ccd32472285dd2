"""Recognition of text in pictures: one engine per file, and what makes pages of the lines that it reads."""
