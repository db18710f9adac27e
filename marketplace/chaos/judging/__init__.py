"""What a storm is judged by: the books, what must hold of them, and how that is printed."""
