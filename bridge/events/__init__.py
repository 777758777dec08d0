"""What happened, in Meta's words and Segment's. Knows no visitor."""
