package scopes

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/valetkey/valetkey/scopes/plaintext"
)

// The limits on what a caller may send.
const (
	MaxValueBytes = 1024 // per value, before anything else looks at it
	MaxValues     = 32   // per list parameter
	MaxParams     = 32   // per scope
)

// shape is what a type's values look like: the form, where they can stand, and a short example.
type shape struct {
	form    *regexp.Regexp // nil where a function below checks the form
	delims  bool           // whether values can hold "/" or ":"
	vault   bool           // whether values may stand in a Vault path
	example string         // a shortest value, for measuring at load
}

// shapes is read-only.
var shapes = map[ParamType]shape{
	TypeS3Bucket:      {form: regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`), vault: true, example: "aaa"},
	TypeS3Prefix:      {delims: true, example: "a/"},
	TypeARN:           {form: regexp.MustCompile(`^arn:(aws|aws-cn|aws-us-gov):[a-z0-9-]+:[a-z0-9-]*:([0-9]{12})?:[!-~]+$`), delims: true, example: "arn:aws:s3:::aaa"},
	TypeRegion:        {form: regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`), vault: true, example: "eu-west-1"},
	TypeAccountID:     {form: regexp.MustCompile(`^[0-9]{12}$`), vault: true, example: "000000000000"},
	TypeDynamoDBTable: {form: regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`), vault: true, example: "aaa"},
	TypeIdentifier:    {form: regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`), vault: true, example: "a"},
	TypeEnum:          {delims: true, vault: true},
	TypePattern:       {delims: true, vault: true, example: "a"},
	TypeInteger:       {vault: true},
}

// canonical checks one value against the parameter and returns its canonical form, whatever Allowed says. The error
// never repeats a value that is too long or has characters a terminal would act on.
func (p param) canonical(v string) (string, error) {
	if err := plain(v); err != nil {
		return "", err
	}
	s := shapes[p.Type]
	if s.form != nil && !s.form.MatchString(v) {
		return "", fmt.Errorf("%q is no %s", v, p.Type)
	}
	switch p.Type {
	case TypeS3Bucket:
		if strings.Contains(v, "..") || strings.HasPrefix(v, "xn--") {
			return "", fmt.Errorf("%q is no %s", v, p.Type)
		}
	case TypeS3Prefix:
		return canonicalPrefix(v)
	case TypeIdentifier, TypeDynamoDBTable:
		if strings.Contains(v, "..") || v == "." {
			return "", fmt.Errorf("%q is no %s", v, p.Type)
		}
	case TypePattern:
		if !p.form.matches(v) {
			return "", fmt.Errorf("%q does not match %q", v, p.Pattern)
		}
	case TypeInteger:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != v {
			return "", fmt.Errorf("%q is no plain decimal integer", v)
		}
		if n < p.Min || n > p.Max {
			return "", fmt.Errorf("%s is not from %d to %d", v, p.Min, p.Max)
		}
	case TypeEnum, TypeARN, TypeRegion, TypeAccountID:
	}
	return v, nil
}

// plain refuses what no type may hold: the characters that IAM, Vault or a terminal give a meaning.
func plain(v string) error {
	switch {
	case v == "":
		return errors.New("an empty value")
	case len(v) > MaxValueBytes:
		return fmt.Errorf("a value of %d bytes is over the %d allowed", len(v), MaxValueBytes)
	}
	if err := plaintext.Line(v); err != nil {
		return fmt.Errorf("a value has %w", err)
	}
	if i := strings.IndexAny(v, `*?${}\"`); i >= 0 {
		return fmt.Errorf("the character %q is not allowed in a value", v[i])
	}
	for _, seg := range strings.Split(v, "/") {
		if seg == "." || seg == ".." {
			return fmt.Errorf("a %q segment is not allowed in a value", seg)
		}
	}
	return nil
}

// canonicalPrefix gives a folder its slash, so that "team" never matches "team-b/".
func canonicalPrefix(v string) (string, error) {
	if strings.HasPrefix(v, "/") || strings.Contains(v, "//") {
		return "", fmt.Errorf("%q is no %s: it has an empty segment", v, TypeS3Prefix)
	}
	if !strings.HasSuffix(v, "/") {
		v += "/"
	}
	if len(v) > MaxValueBytes {
		return "", fmt.Errorf("a value of %d bytes is over the %d allowed", len(v), MaxValueBytes)
	}
	return v, nil
}

// values checks all values of one parameter and returns them canonical, sorted and unique.
func (p param) values(in []string) ([]string, error) {
	switch {
	case len(in) == 0:
		return nil, errors.New("no value")
	case !p.List && len(in) > 1:
		return nil, fmt.Errorf("%d values where it takes one", len(in))
	case len(in) > MaxValues:
		return nil, fmt.Errorf("%d values are over the %d allowed", len(in), MaxValues)
	}
	out := make([]string, 0, len(in))
	for _, v := range in {
		c, err := p.canonical(v)
		if err != nil {
			return nil, err
		}
		if len(p.Allowed) > 0 && !slices.Contains(p.Allowed, c) {
			return nil, fmt.Errorf("%q is not among the allowed values", c)
		}
		out = append(out, c)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// example returns a shortest value, to measure with.
func (p param) example() string {
	if len(p.Allowed) > 0 {
		return slices.MinFunc(p.Allowed, func(a, b string) int { return len(a) - len(b) })
	}
	if p.Type == TypeInteger {
		return strconv.FormatInt(p.Min, 10)
	}
	return shapes[p.Type].example
}
