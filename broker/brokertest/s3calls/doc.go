// Package s3calls finds out what S3-compatible servers check S3 calls as, and holds what scopes/iam says of each server
// against the server itself. Its tests are all that it has.
//
// TestTable calls each server with policies of one action, and compares with testdata/s3calls and scopes/iam/s3calls.txt;
// with -update it writes both. TestVerdicts calls each with random policies.
package s3calls
