package iam

import "strings"

// singleValued tells whether AWS's page calls a global key single-valued, so that a request has one value of it or
// none (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html, "Value type"). Keys of
// services are not on that page and count as multivalued.
func singleValued(key string) bool {
	key = strings.ToLower(key)
	switch key {
	case "aws:calledviafirst", "aws:calledvialast", "aws:currenttime", "aws:epochtime", "aws:federatedprovider",
		"aws:multifactorauthage", "aws:multifactorauthpresent", "aws:principalaccount", "aws:principalarn",
		"aws:principalisawsservice", "aws:principalorgid", "aws:principalservicename", "aws:principaltype",
		"aws:referer", "aws:requestedregion", "aws:resourceaccount", "aws:resourceorgid", "aws:securetransport",
		"aws:sourceaccount", "aws:sourcearn", "aws:sourceidentity", "aws:sourceip", "aws:sourceorgid", "aws:sourcevpc",
		"aws:sourcevpce", "aws:tokenissuetime", "aws:useragent", "aws:userid", "aws:username", "aws:viaawsservice",
		"aws:vpcsourceip":
		return true
	}
	for _, prefix := range []string{"aws:principaltag/", "aws:requesttag/", "aws:resourcetag/"} {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}
