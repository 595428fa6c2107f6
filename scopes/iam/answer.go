package iam

// answer is a truth value with a third one: unsure is what AWS's pages leave open, and each place that gives it names
// the page. Unsure is on the safe side everywhere: an Allow that is unsure does not allow, a Deny that is unsure denies,
// and Covers takes it for a doubt. So an answer is no bool, and code that needs one says what it makes of the third:
// sure or maybe.
type answer uint8

const (
	no answer = iota
	unsure
	yes
)

func is(b bool) answer {
	if b {
		return yes
	}
	return no
}

// sure tells whether it is a yes whatever AWS does.
func (a answer) sure() bool { return a == yes }

// maybe tells whether it may be a yes.
func (a answer) maybe() bool { return a != no }

func (a answer) and(b answer) answer { return min(a, b) }
func (a answer) or(b answer) answer  { return max(a, b) }
func (a answer) not() answer         { return yes - a }
