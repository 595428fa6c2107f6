package main

import (
	"encoding/json"
	"fmt"

	"github.com/valetkey/valetkey/scopes/tier"
	"github.com/valetkey/valetkey/scopes/verdict"
)

// family is the commands that treat policies as sets, the same for each language of policies. The type parameters are a
// language's part in them, with the flags that it alone has.
type family[P any, S simulator, C comparer[P], E explainer, F formatter] struct {
	Simulate familySimulate[S] `cmd:"" help:"Say whether requests are allowed: one by flags, or one a line of JSON on standard input."`
	Cover    familyCover[P, C] `cmd:"" help:"Say whether A allows all that B allows. Leaves with 0 for yes, 3 for no, 6 for unknown."`
	Diff     familyDiff[P, C]  `cmd:"" help:"Say what is gained and lost from A to B. Leaves with 0 if nothing is gained, 3 if something is, 6 if that is unknown."`
	Explain  familyExplain[E]  `cmd:"" help:"Say what policies allow, and how much harm that can do."`
	Fmt      familyFmt[F]      `cmd:"" help:"Check policy files and print them in one form."`
}

// language is what all parts know of it.
type language interface {
	ext() string // what the names of its files end in
}

// comparer compares the policies of two callers, each read as a P.
type comparer[P any] interface {
	language
	read(files []textFile) (P, error)
	cover(a, b P) (coverage, error)
	diff(a, b P) (delta, error)
}

// readPair reads the two sides of a comparison; one of them can be standard input.
func readPair[P any](in comparer[P], a, b string) (x, y P, err error) {
	if a == "-" && b == "-" {
		return x, y, &usageError{"only one side can be standard input"}
	}
	for _, side := range []struct {
		path string
		to   *P
	}{{a, &x}, {b, &y}} {
		files, err := readSet(side.path, in.ext())
		if err != nil {
			return x, y, err
		}
		if *side.to, err = in.read(files); err != nil {
			return x, y, err
		}
	}
	return x, y, nil
}

// coverage says whether A allows all that B allows.
type coverage struct {
	Answer  verdict.Answer `json:"answer"`
	Witness fmt.Stringer   `json:"witness,omitempty"` // a request that B allows and A does not, as simulate reads it
	A       fmt.Stringer   `json:"a,omitempty"`       // the decisions about it
	B       fmt.Stringer   `json:"b,omitempty"`
	Why     string         `json:"why,omitempty"`
}

type familyCover[P any, C comparer[P]] struct {
	A string `arg:"" predictor:"policy" help:"The wider side: a file, a folder with the ${ext} files of one caller, or -."`
	B string `arg:"" predictor:"policy" help:"The narrower side, likewise."`

	In C `embed:""`
}

func (c *familyCover[P, C]) Run(out *output) error {
	a, b, err := readPair[P](c.In, c.A, c.B)
	if err != nil {
		return err
	}
	got, err := c.In.cover(a, b)
	if err != nil {
		return err
	}
	if out.json() {
		err = out.value(got)
	} else {
		err = got.print(out)
	}
	if err != nil {
		return err
	}
	return answerOf(got.Answer)
}

func (c coverage) print(out *output) error {
	lines := []string{c.Answer.String()}
	if c.Witness != nil {
		lines = []string{fmt.Sprintf("%s: %s", c.Answer, c.Witness), "  A: " + c.A.String(), "  B: " + c.B.String()}
	} else if c.Why != "" {
		lines[0] += ": " + c.Why
	}
	for _, l := range lines {
		if err := out.printf("%s\n", clean(l)); err != nil {
			return err
		}
	}
	return nil
}

// delta is what changes from A to B.
type delta struct {
	Gained   []change  `json:"gained"`
	Lost     []change  `json:"lost"`
	Tier     tier.Tier `json:"tier"`     // of what is gained; doubts count
	Complete bool      `json:"complete"` // false where something may be missing; Why says what
	Why      string    `json:"why,omitempty"`
}

// change is one change: for programs as its language has it, for people in words.
type change struct {
	gain

	value                any
	what, example, where string
}

// MarshalJSON is of the value.
func (c change) MarshalJSON() ([]byte, error) { return json.Marshal(c.value) }

type familyDiff[P any, C comparer[P]] struct {
	failOn

	A string `arg:"" predictor:"policy" help:"Before: a file, a folder with the ${ext} files of one caller, or -."`
	B string `arg:"" predictor:"policy" help:"After, likewise."`

	In C `embed:""`
}

func (c *familyDiff[P, C]) Run(out *output) error {
	a, b, err := readPair[P](c.In, c.A, c.B)
	if err != nil {
		return err
	}
	d, err := c.In.diff(a, b)
	if err != nil {
		return err
	}
	if out.json() {
		err = out.value(d)
	} else {
		err = d.print(out)
	}
	if err != nil {
		return err
	}
	var gains []gain
	for _, g := range d.Gained {
		gains = append(gains, g.gain)
	}
	return c.answer(gains, d.Complete)
}

func (d delta) print(out *output) error {
	rows := [][]string{{"", "TIER", "WHAT", "FOR EXAMPLE", "WHERE"}}
	for _, side := range []struct {
		word    string
		changes []change
	}{{"gained", d.Gained}, {"lost", d.Lost}} {
		for _, c := range side.changes {
			word := side.word
			if !c.known {
				word = "perhaps " + word
			}
			rows = append(rows, []string{word, c.tier.String(), c.what, c.example, c.where})
		}
	}
	var err error
	if len(rows) > 1 {
		err = out.table(rows)
	} else if d.Complete {
		err = out.printf("no change\n")
	}
	if err == nil && !d.Complete {
		err = out.printf("something may be missing: %s\n", clean(d.Why))
	}
	return err
}

// explainer says what policies allow: a value for programs, and rows for people.
type explainer interface {
	language
	explain(files []textFile) (value any, rows [][]string, err error)
}

type familyExplain[E explainer] struct {
	Policies string `arg:"" predictor:"policy" help:"A file, a folder with the ${ext} files of one caller, or -."`

	In E `embed:""`
}

func (c *familyExplain[E]) Run(out *output) error {
	files, err := readSet(c.Policies, c.In.ext())
	if err != nil {
		return err
	}
	value, rows, err := c.In.explain(files)
	if err != nil {
		return err
	}
	if out.json() {
		return out.value(value)
	}
	return out.table(rows)
}

// formatter prints a policy in one form.
type formatter interface {
	language
	format(text []byte) ([]byte, error)
}

type familyFmt[F formatter] struct {
	Files []string `arg:"" predictor:"policy" help:"Policy files, folders with ${ext} files, or - for standard input."`
	Write bool     `short:"w" help:"Write the files instead of printing them."`
	Check bool     `help:"Print the names of files that are not so, and leave with 3 if there are any."`

	In F `embed:""`
}

func (c *familyFmt[F]) Run(out *output) error {
	return out.formatFiles(c.Files, c.In.ext(), c.Write, c.Check, c.In.format)
}
