// Package oracle holds scopes/iam against another implementation of IAM's evaluation, the policy package of versitygw
// (Apache-2.0). It is a module of its own so that nothing of the gateway is a dependency of valetkey.
//
//	cd testdata/iam/oracle && go test ./...
package oracle
