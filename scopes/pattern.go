package scopes

import "regexp"

// wholePattern is an author's expression that a value matches as a whole. It is
// compiled as it was written, and nothing is put around it: what it matches is measured
// instead. So no text of the author's can end a group or a quotation that is not theirs.
type wholePattern struct{ re *regexp.Regexp }

func compilePattern(text string) (*wholePattern, error) {
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	re.Longest()
	return &wholePattern{re}, nil
}

// matches says whether the expression matches all of v: the longest match that begins
// first is all of it then, and else no match is.
func (p *wholePattern) matches(v string) bool {
	at := p.re.FindStringIndex(v)
	return at != nil && at[0] == 0 && at[1] == len(v)
}
