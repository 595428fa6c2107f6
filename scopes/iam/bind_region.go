package iam

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes/internal/glob"
)

var regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$`)

// globalEndpoints are the services whose one endpoint, of the partition "aws", is in one Region, which
// aws:RequestedRegion then says whatever the caller does
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_examples_aws_deny-requested-region.html and
// https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/global-services.html). One that is
// missing here can be used in its own Region alone, so that a missing row takes away and never gives.
var globalEndpoints = map[string]string{ // service, or one action -> Region; read-only
	"account": "us-east-1", "artifact": "us-east-1", "billing": "us-east-1", "budgets": "us-east-1", "ce": "us-east-1",
	"cloudfront": "us-east-1", "cur": "us-east-1", "health": "us-east-1", "iam": "us-east-1",
	"importexport": "us-east-1", "organizations": "us-east-1", "route53": "us-east-1", "route53domains": "us-east-1",
	"s3:ListAllMyBuckets": "us-east-1", "savingsplans": "us-east-1", "shield": "us-east-1", "support": "us-east-1",
	"trustedadvisor": "us-east-1", "waf": "us-east-1",
	"chatbot": "us-west-2", "devicefarm": "us-west-2", "globalaccelerator": "us-west-2", "networkmanager": "us-west-2",
	"route53-recovery-control-config": "us-west-2", "route53-recovery-readiness": "us-west-2",
}

var globalServices = slices.Sorted(maps.Keys(globalEndpoints)) // read-only

// regional returns the Deny of everything outside the Regions. What p allows of a service with one endpoint elsewhere is
// left out of it, or it could never be used: such a service has no Region to keep it in. STS is not left out: its
// Regions have endpoints, so that a call to the global one, which is us-east-1, is denied where us-east-1 is not
// listed. A request's Region says where the call goes, not where its data goes: a replication across Regions is one
// call in one of them.
func regional(actions, regions []string) (Statement, error) {
	s := Statement{Effect: Deny, Resource: []string{"*"}}
	for _, r := range regions {
		if !regionName.MatchString(r) {
			return s, fmt.Errorf("%w: %q is no Region such as eu-west-1", ErrPolicy, r)
		}
	}
	regions = slices.Compact(slices.Sorted(slices.Values(regions)))
	s.Condition = map[string]map[string][]string{"StringNotEquals": {"aws:RequestedRegion": regions}}
	for _, service := range globalServices {
		if slices.Contains(regions, globalEndpoints[service]) {
			continue
		}
		pattern := service
		if !strings.Contains(service, ":") {
			pattern += ":*"
		}
		of := glob.Wild(strings.ToLower(pattern))
		if slices.ContainsFunc(actions, func(a string) bool { return glob.Overlap(glob.Wild(strings.ToLower(a)), of) }) {
			s.NotAction = append(s.NotAction, pattern)
		}
	}
	if len(s.NotAction) == 0 {
		s.Action = []string{"*"}
	}
	return s, nil
}
