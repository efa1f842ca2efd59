package db

// NewDialer shows tests how connections are made.
var NewDialer = newDialer
