package review

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

// maxSamples is how many values of one parameter are looked at. Two that differ are enough to tell a hole from a
// literal; the rest is room for the forms of an ARN.
const maxSamples = 32

// regions are real ones, so that a condition on a Region makes sense. It is read-only.
var regions = []string{"eu-west-1", "us-east-2", "ap-south-1", "sa-east-1"}

// arns are forms that between them most services take. It is read-only.
var arns = []string{
	"arn:aws:s3:::%s/%[1]s", "arn:aws:s3:::%s", "arn:aws:dynamodb:eu-west-1:111111111111:table/%s",
	"arn:aws:lambda:eu-west-1:111111111111:function:%s", "arn:aws:sqs:eu-west-1:111111111111:%s",
	"arn:aws:sns:eu-west-1:111111111111:%s", "arn:aws:secretsmanager:eu-west-1:111111111111:secret:%s",
	"arn:aws:ssm:eu-west-1:111111111111:parameter/%s", "arn:aws:kms:eu-west-1:111111111111:key/%s",
	"arn:aws:ec2:eu-west-1:111111111111:instance/%s", "arn:aws:logs:eu-west-1:111111111111:log-group:%s",
	"arn:aws:ecr:eu-west-1:111111111111:repository/%s", "arn:aws:iam::111111111111:role/%s",
	"arn:aws:rds:eu-west-1:111111111111:db:%s", "arn:aws:cloudformation:eu-west-1:111111111111:stack/%s/1",
}

// samples returns values that stand in for a parameter, the likeliest first. No two parameters share a word, or a
// template with two holes would pass for one with one hole twice. Whoever uses them has to ask the scope whether it
// accepts them.
func samples(p scopes.Param, index int) []string {
	if len(p.Allowed) > 0 {
		return p.Allowed
	}
	word := strings.Trim(strings.ReplaceAll(p.Name, "_", "-"), "-")
	one, two := "example-"+word, "another-"+word+"-of-some-length"
	switch p.Type {
	case scopes.TypeS3Prefix:
		return []string{one + "/", two + "/below/"}
	case scopes.TypeRegion:
		return []string{regions[index%4], regions[(index+1)%4]}
	case scopes.TypeAccountID:
		return []string{fmt.Sprintf("1111%08d", index), fmt.Sprintf("2222%08d", index)}
	case scopes.TypeInteger:
		return []string{strconv.FormatInt(p.Max, 10), strconv.FormatInt(p.Min, 10)}
	case scopes.TypePattern:
		return matches(p.Pattern)
	case scopes.TypeARN:
		var out []string
		for _, form := range arns {
			out = append(out, fmt.Sprintf(form, one), fmt.Sprintf(form, two))
		}
		return out
	case scopes.TypeS3Bucket, scopes.TypeDynamoDBTable, scopes.TypeIdentifier, scopes.TypeEnum:
	}
	if p.Type == scopes.TypeS3Bucket && len(two) > 63 {
		one, two = one[:min(len(one), 50)]+"-1", two[:50]+"-2"
	}
	return []string{one, two}
}

// accepted keeps the values that a scope takes.
func accepted(s *scopes.Scope, name string, values []string) []string {
	return slices.DeleteFunc(slices.Clone(values), func(v string) bool { return s.Accepts(name, v) != nil })
}

// valuation is one value for each parameter.
type valuation map[string]string

func (v valuation) query(scope string, d iam.Dialect) scopes.Query {
	q := scopes.Query{Scope: scope, Dialect: d, Params: map[string][]string{}}
	for name, value := range v {
		q.Params[name] = []string{value}
	}
	return q
}

// text says the valuation as the command line does.
func (v valuation) text() string {
	var out []string
	for name, value := range v {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// valuations returns n valuations from the candidates of each parameter, each value used as evenly as can be.
func valuations(candidates map[string][]string, n int) []valuation {
	out := make([]valuation, n)
	for k := range out {
		out[k] = valuation{}
		for name, values := range candidates {
			out[k][name] = values[k%len(values)]
		}
	}
	return out
}
