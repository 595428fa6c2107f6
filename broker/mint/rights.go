package mint

import (
	"context"
	"fmt"
	"slices"
)

// Judgement is what a Finding means. A higher one weighs more.
type Judgement int

const (
	// RightsNote is as it should be, and worth a line.
	RightsNote Judgement = iota
	// RightsUnknown could not be asked, so that it is neither well nor ill.
	RightsUnknown
	// RightsBeyond is a right that the broker has and does not need.
	RightsBeyond
	// RightsMissing is a right that the broker needs and does not have.
	RightsMissing
)

// String is one word.
func (j Judgement) String() string {
	return [...]string{"ok", "unknown", "beyond", "missing"}[j]
}

// Finding is one thing that a look at the broker's own rights upstream has found.
type Finding struct {
	Judgement Judgement
	Text      string
}

// Findings are those of one role. Their methods add one.
type Findings []Finding

// Add adds a finding.
func (f *Findings) Add(j Judgement, format string, args ...any) {
	*f = append(*f, Finding{Judgement: j, Text: fmt.Sprintf(format, args...)})
}

// Worst is the heaviest judgement; RightsNote for none.
func (f Findings) Worst() (worst Judgement) {
	for _, one := range f {
		worst = max(worst, one.Judgement)
	}
	return worst
}

// Sorted is the heaviest first.
func (f Findings) Sorted() Findings {
	out := slices.Clone(f)
	slices.SortStableFunc(out, func(a, b Finding) int { return int(b.Judgement - a.Judgement) })
	return out
}

// Checker is a Minter that can look at what the broker may do at its upstream.
type Checker interface {
	// CheckRights compares that with what minting needs. reads are Vault paths that scopes give
	// out, as examples. What an upstream does not tell is RightsUnknown, never an error.
	CheckRights(ctx context.Context, reads []string) Findings
}
