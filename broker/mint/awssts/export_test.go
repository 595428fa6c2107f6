package awssts

// PlainBody is for the tests' own clients, which lose answers without it, too.
var PlainBody = plainBody
