"""One exact model of columns of many types."""
