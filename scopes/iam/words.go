package iam

import (
	"maps"
	"slices"
	"strings"
)

// String is the statement for people, on one line and without its Sid: "allows s3:GetObject on every resource".
func (s Statement) String() string {
	every := func(list []string, what string) []string {
		if len(list) == 1 && list[0] == "*" {
			return []string{"every " + what}
		}
		return list
	}
	verb := "allows "
	if s.Effect == Deny {
		verb = "denies "
	}
	return verb + words(every(s.Action, "action"), s.NotAction, every(s.Resource, "resource"), s.NotResource, s.Condition) +
		people(" to ", s.Principal) + people(" to everybody but ", s.NotPrincipal)
}

// people lists principals with their types.
func people(glue string, principals map[string][]string) string {
	out := ""
	for _, kind := range slices.Sorted(maps.Keys(principals)) {
		if kind == "*" {
			out += glue + "everybody"
		} else {
			out += glue + kind + " " + strings.Join(principals[kind], ", ")
		}
		glue = " and "
	}
	return out
}

// words is what a statement is about, on one line.
func words(acts, notActs, resources, notResources []string, condition map[string]map[string][]string) string {
	var b strings.Builder
	list := func(yes, no []string) {
		if len(no) > 0 {
			b.WriteString("everything but ")
			yes = no
		}
		b.WriteString(strings.Join(yes, ", "))
	}
	list(acts, notActs)
	if len(resources)+len(notResources) > 0 {
		b.WriteString(" on ")
		list(resources, notResources)
	}
	glue := " when "
	for _, op := range slices.Sorted(maps.Keys(condition)) {
		for _, key := range slices.Sorted(maps.Keys(condition[op])) {
			b.WriteString(glue + key + " " + op + " " + strings.Join(visible(condition[op][key]), ", "))
			glue = " and "
		}
	}
	return b.String()
}

// visible writes an empty text as "".
func visible(list []string) []string {
	out := slices.Clone(list)
	for i, s := range out {
		if s == "" {
			out[i] = `""`
		}
	}
	return out
}
