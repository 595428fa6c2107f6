package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/valetkey/valetkey/scopes/verdict"
)

// simulator decides about requests.
type simulator interface {
	language

	// asked tells whether the flags make a request; a part of one is an error.
	asked() (bool, error)

	// open returns what decides a line of cases, by the files' policies where the line has none, or for no line the
	// request of the flags.
	open(files []textFile) (func(line []byte) (judgement, error), error)
}

// judgement is the answer to a case.
type judgement struct {
	caseWords

	request, decision fmt.Stringer // for people
	verdict           verdict.Verdict
	value             any // for programs: the words and the decision
}

// caseWords is what an answer has beside the decision.
type caseWords struct {
	Name     string           `json:"name,omitempty"`
	Expected *verdict.Verdict `json:"expected,omitempty"` // where it is not the verdict
}

func wordsOf(name string, want *verdict.Verdict, got verdict.Verdict) caseWords {
	if want != nil && *want == got {
		want = nil
	}
	return caseWords{name, want}
}

// caseFault is the answer to a line that could not be judged.
type caseFault struct {
	Error string `json:"error"`
}

type familySimulate[S simulator] struct {
	Policies []string `arg:"" optional:"" predictor:"policy" help:"The caller's policies: files, or folders with ${ext} files. A line's own take their place."`

	In S `embed:""`
}

func (c *familySimulate[S]) Run(ctx context.Context, out *output) error {
	asked, err := c.In.asked()
	switch {
	case err != nil:
		return err
	case asked && len(c.Policies) == 0:
		return &usageError{"no policies to judge by"}
	case !asked && slices.Contains(c.Policies, "-"):
		return &usageError{"policies and cases cannot both be standard input"}
	}
	var files []textFile
	for _, path := range c.Policies {
		set, err := readSet(path, c.In.ext())
		if err != nil {
			return err
		}
		files = append(files, set...)
	}
	judge, err := c.In.open(files)
	if err != nil {
		return err
	}
	if !asked {
		return judgeLines(ctx, out, judge)
	}
	j, err := judge(nil)
	if errors.Is(err, verdict.ErrRequest) {
		return &usageError{err.Error()}
	}
	if err == nil {
		err = j.print(out)
	}
	if err == nil && j.verdict != verdict.Allowed {
		err = answer(exitNo)
	}
	return err
}

func (j judgement) print(out *output) error {
	if out.json() {
		return out.line(j.value)
	}
	text := fmt.Sprintf("%s: %s", cmp.Or(j.Name, j.request.String()), j.decision)
	if j.Expected != nil {
		text += fmt.Sprintf("; expected %s", j.Expected)
	}
	return out.printf("%s\n", clean(text))
}

// judgeLines answers the cases of standard input, one line each: a decision, or an error, after which it goes on.
func judgeLines(ctx context.Context, out *output, judge func([]byte) (judgement, error)) error {
	total, broken, wrong := 0, 0, 0
	err := eachLine(ctx, os.Stdin, func(n int, line []byte, err error) error {
		total++
		var j judgement
		if err == nil {
			j, err = judge(line)
		}
		if err != nil {
			broken++
			fault := fmt.Sprintf("line %d: %v", n, err)
			if out.json() {
				return out.line(caseFault{fault})
			}
			return out.printf("error: %s\n", clean(fault))
		}
		if j.Expected != nil {
			wrong++
		}
		return j.print(out)
	})
	switch {
	case err != nil:
		return err
	case broken > 0:
		return fmt.Errorf("%d of %d cases could not be judged", broken, total)
	case wrong > 0:
		return &answerError{exitVerification, fmt.Sprintf("%d of %d cases are not as expected", wrong, total)}
	}
	return nil
}
