package main

import (
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/scopes/review"
)

// maxComment keeps under the 65,536 characters that GitHub takes in a comment.
const maxComment = 60_000

// diffMarkdown is the difference as a comment for a pull request. All that a catalog's author wrote is in code spans,
// where GitHub reads no markup, link, mention or reference.
func diffMarkdown(d review.Delta) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### Catalog: %s\n", diffSummary(d))
	for i, s := range d.Scopes {
		text := scopeMarkdown(s)
		if b.Len()+len(text) > maxComment {
			fmt.Fprintf(&b, "\n%s more; run `valetkey catalog diff` to see them.\n", scopeCount(len(d.Scopes)-i))
			break
		}
		b.WriteString(text)
	}
	return b.String()
}

func scopeMarkdown(s review.ScopeDelta) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n#### %s %s, tier %s\n\n%s\n\n", codeSpan(s.Scope), s.Status, strings.ReplaceAll(tierStep(s), "->", "→"), codeSpan(s.Description))
	for _, side := range []struct {
		word    string
		changes []review.Change
	}{{"gained", s.Gained}, {"lost", s.Lost}} {
		for _, c := range side.changes {
			word := side.word
			if !c.Known {
				word = "perhaps " + word
			}
			fmt.Fprintf(&b, "- **%s** (%s) %s\n", word, c.Tier, codeSpan(c.What))
			switch {
			case !c.Known:
				fmt.Fprintf(&b, "  - not known: %s\n", codeSpan(c.Why))
			case c.Witness != "":
				fmt.Fprintf(&b, "  - for one, %s\n", codeSpan(exampleText(c)))
			}
		}
	}
	for _, n := range s.Notes {
		fmt.Fprintf(&b, "- %s\n", codeSpan(n))
	}
	return b.String()
}

// codeSpan puts text between more backticks than it has in a row, which is the only escaping that a code span knows
// (https://github.github.com/gfm/#code-spans).
func codeSpan(s string) string {
	s = strings.TrimSpace(clean(s))
	if s == "" {
		return "(empty)"
	}
	longest, run := 0, 0
	for _, r := range s {
		if run++; r != '`' {
			run = 0
		}
		longest = max(longest, run)
	}
	fence := strings.Repeat("`", longest+1)
	if longest > 0 {
		return fence + " " + s + " " + fence
	}
	return fence + s + fence
}
