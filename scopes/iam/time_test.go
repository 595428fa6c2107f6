package iam_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/scopes/iam"
)

// hurried is a clock that runs a second each time it is read, and how often that was.
func hurried() (now func() time.Time, reads func() int) {
	n := 0
	return func() time.Time {
		n++
		return time.Unix(1_800_000_000+int64(n), 0)
	}, func() int { return n }
}

// knotted are statements that a search does not get through.
func knotted() string {
	var statements []string
	for i := range 24 {
		statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::*%c*%c*%c*","Condition":{"Bool":{"x:k%d":"true"}}}`,
			'a'+i, 'b'+i, 'a'+i*7%26, i))
	}
	return strings.Join(statements, ",")
}

// A search ends by the clock, in no answer.
func TestCoversEndsByTheClock(t *testing.T) {
	p := doc(t, knotted())
	now, reads := hurried()
	got, err := iam.CoversBy(iam.DialectAWS, p, p, now)
	if err != nil || got.Answer != iam.Unknown || !strings.Contains(got.Why, "or 10s") {
		t.Errorf("%+v, %v", got, err)
	}
	if n := reads(); n != 12 { // the first sets the end, the last is past it
		t.Errorf("the clock was read %d times", n)
	}
}

func TestDiffEndsByTheClock(t *testing.T) {
	now, reads := hurried()
	d, err := iam.DiffBy(iam.DialectAWS, doc(t, knotted()), doc(t, knotted()+","+on("arn:aws:s3:::new")), now)
	if err != nil || len(d.Gained) == 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	if n := reads(); n > 1000 {
		t.Errorf("the clock was read %d times", n)
	}
	for _, c := range d.Gained {
		if c.Known || !strings.Contains(c.Why, "or 20s") {
			t.Errorf("%+v", c)
		}
	}
}

// longLists are two versions of one list of 5,600 actions, with one in 23 and one in 19 left out.
func longLists(t testing.TB) (a, b []iam.Policy) {
	list := func(without int) []iam.Policy {
		var names []string
		for i := range 5600 {
			if i%without != 0 {
				names = append(names, fmt.Sprintf("svc%d:get%04dThing", i/40, i))
			}
		}
		return doc(t, act(strings.Join(names, " ")))
	}
	return list(23), list(19)
}

// Long lists are told apart to the last action.
func TestDiffOfLongLists(t *testing.T) {
	a, b := longLists(t)
	d, err := iam.Diff(iam.DialectAWS, a, b)
	if err != nil || len(d.Gained) != 1 || len(d.Lost) != 1 {
		t.Fatalf("%d gained, %d lost, %v", len(d.Gained), len(d.Lost), err)
	}
	// In b and not in a: the multiples of 23 but not of 19; in a and not in b the reverse.
	if g, l := d.Gained[0], d.Lost[0]; !g.Known || !l.Known || len(g.Actions) != 244-13 || len(l.Actions) != 295-13 {
		t.Errorf("%v %d gained, %v %d lost", g.Known, len(g.Actions), l.Known, len(l.Actions))
	}
}

func BenchmarkDiffLongLists(b *testing.B) {
	x, y := longLists(b)
	for b.Loop() {
		if d, err := iam.Diff(iam.DialectAWS, x, y); err != nil || d.Empty() {
			b.Fatal(d, err)
		}
	}
}
