package review

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/scopes"
	"github.com/valetkey/valetkey/scopes/iam"
)

const maxSize = iam.MaxSize

// longestSize measures with long parameters, for the enforcer that it is longest for. The error wraps scopes.ErrTooLarge
// where the policy does not fit one.
func longestSize(c *scopes.Catalog, s *scopes.Scope) (int, error) {
	_, short, err := example(c, s) // for parameters whose long values are not taken together
	if err != nil {
		return 0, err
	}
	q := scopes.Query{Scope: s.Name(), Params: short.Params()}
	for i, p := range s.Params() {
		var long []string
		for _, v := range longest(p, i) {
			if s.Accepts(p.Name, v) == nil {
				long = append(long, v)
			}
		}
		if len(long) == 0 {
			continue
		}
		if !p.List {
			long = long[:1]
		}
		before := q.Params[p.Name]
		q.Params[p.Name] = long
		if _, err := c.ResolveAll(q); err != nil && !errors.Is(err, scopes.ErrTooLarge) {
			q.Params[p.Name] = before
		}
	}
	rs, err := c.ResolveAll(q)
	longest := 0
	for i := range rs {
		var size int
		if p := rs[i].Permissions(); err == nil {
			size, err = s.BoundSize(p.Dialect, *p.AWS)
		}
		longest = max(longest, size)
	}
	return longest, err
}

// longest returns long values of a parameter that a caller may well have, the longest first: names of AWS at their
// limits where those are near, and 64 characters of what may be far longer.
func longest(p scopes.Param, index int) []string {
	word := func(n, i int) string { return fmt.Sprintf("%s%02d%d", strings.Repeat("x", n-3), index, i) }
	var out []string
	if len(p.Allowed) > 0 || p.Type == scopes.TypeInteger {
		out = samples(p, index)
		slices.SortStableFunc(out, func(a, b string) int { return len(b) - len(a) })
		return out[:min(len(out), plausibleListItems)]
	}
	for i := range plausibleListItems {
		switch p.Type {
		case scopes.TypeS3Bucket:
			out = append(out, word(63, i))
		case scopes.TypeS3Prefix:
			out = append(out, word(63, i)+"/"+word(63, i)+"/")
		case scopes.TypeARN:
			for _, form := range arns {
				out = append(out, fmt.Sprintf(form, word(63, i)))
			}
		case scopes.TypeRegion:
			out = append(out, fmt.Sprintf("ap-southeast-%d", i+1))
		case scopes.TypeAccountID:
			return samples(p, index)
		case scopes.TypePattern:
			return matches(p.Pattern)
		case scopes.TypeDynamoDBTable, scopes.TypeIdentifier, scopes.TypeEnum, scopes.TypeInteger:
			out = append(out, word(64, i))
		}
	}
	return out
}
