"""What processes say to each other, and how. Knows no other package of ours."""
