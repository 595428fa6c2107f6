package iam

import (
	"encoding/base64"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// sort is what kind of values a condition compares.
type sort uint8

const (
	sortNone    sort = iota // Null: no value is told from another
	sortText                // strings, ARNs and booleans
	sortNumber              // ranges of numbers
	sortTime                // ranges of instants
	sortAddress             // ranges of addresses
	sortBinary              // bytes
)

func sortOf(c *condition) sort {
	switch c.family {
	case familyNumeric:
		return sortNumber
	case familyDate:
		return sortTime
	case familyIP:
		return sortAddress
	case familyBinary:
		return sortBinary
	case familyNull:
		return sortNone
	default:
		return sortText
	}
}

// partition has a sample of each set of values that conditions of one sort cannot tell apart.
type partition struct {
	sort   sort
	values []string
}

// partitions returns the samples for each sort that the conditions have; at least one sample. It returns false where
// the budget ends.
func partitions(conds []*condition, b *budget) ([]partition, bool) {
	by := map[sort][]*condition{}
	for _, c := range conds {
		if s := sortOf(c); s != sortNone {
			by[s] = append(by[s], c)
		}
	}
	if len(by) == 0 {
		return []partition{{sort: sortNone, values: []string{"x"}}}, true
	}
	var out []partition
	for s := sortText; s <= sortBinary; s++ {
		own := by[s]
		if len(own) == 0 {
			continue
		}
		p := partition{sort: s}
		ok := true
		switch s {
		case sortNumber:
			p.values = numbers(own)
		case sortTime:
			p.values = instants(own)
		case sortAddress:
			p.values = addresses(own)
		case sortBinary:
			p.values = binaries(own)
		default:
			p.values, ok = texts(own, b)
		}
		if !ok {
			return nil, false
		}
		out = append(out, p)
	}
	return out, true
}

// unreadable is no number, date, address, boolean or base64.
const unreadable = "!"

// texts walks the automata of all values, and of what else tells texts apart.
func texts(conds []*condition, b *budget) ([]string, bool) {
	langs := []language{{track{}}} // the empty text, which may be no value
	arns := false
	for _, c := range conds {
		if c.family == familyBool {
			continue
		}
		arns = arns || c.family == familyARN
		folds := []folding{foldNone}
		if c.relation == relationFold {
			folds = []folding{foldASCII, foldUnicode}
		}
		for _, fold := range folds {
			var l language
			for i := range c.values {
				if t, ok := newTrack(&c.values[i].pattern, fold); ok {
					l = append(l, t)
				}
			}
			langs = append(langs, l)
		}
	}
	if slices.ContainsFunc(conds, func(c *condition) bool { return c.family == familyBool }) {
		// Which of the two, in what case, or neither, is all that Bool can tell.
		for _, word := range []string{"true", "false"} {
			langs = append(langs, language{spelt(word, foldNone)}, language{spelt(word, foldASCII)})
		}
	}
	if arns {
		langs = append(langs, language{arnTrack()})
	}
	var out []string
	ok := newProduct(langs, b).explore(func(_ bits, text string) bool {
		out = append(out, text)
		return true
	})
	return out, ok
}

// spelt is one text.
func spelt(s string, fold folding) track {
	var t track
	for _, r := range s {
		t = append(t, step{char: r, fold: fold})
	}
	return t
}

// numbers returns each number that a condition names, one between each two, one below, one above.
func numbers(conds []*condition) []string {
	var at []*big.Rat
	scale := 0
	for _, c := range conds {
		for _, v := range c.values {
			whole := v.number.whole
			if whole == "" {
				whole = "0"
			}
			text := whole
			if v.number.fractional != "" {
				text += "." + v.number.fractional
			}
			if v.number.negative {
				text = "-" + text
			}
			if r, ok := new(big.Rat).SetString(text); ok {
				at = append(at, r)
				scale = max(scale, len(v.number.fractional))
			}
		}
	}
	slices.SortFunc(at, (*big.Rat).Cmp)
	at = slices.CompactFunc(at, func(a, b *big.Rat) bool { return a.Cmp(b) == 0 })
	out := []string{unreadable}
	show := func(r *big.Rat) {
		s := r.FloatString(scale + 1)
		out = append(out, strings.TrimSuffix(strings.TrimRight(s, "0"), "."))
	}
	one, half := big.NewRat(1, 1), big.NewRat(1, 2)
	for i, r := range at {
		if i == 0 {
			show(new(big.Rat).Sub(r, one))
		} else {
			m := new(big.Rat).Add(at[i-1], r)
			show(m.Mul(m, half))
		}
		show(r)
		if i == len(at)-1 {
			show(new(big.Rat).Add(r, one))
		}
	}
	return out
}

// instants is numbers for dates. Nothing is between two nanoseconds.
func instants(conds []*condition) []string {
	var at []time.Time
	for _, c := range conds {
		for _, v := range c.values {
			at = append(at, v.date.from.UTC(), v.date.to.UTC())
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	at = slices.CompactFunc(at, time.Time.Equal)
	out := []string{unreadable}
	for i, t := range at {
		if i == 0 {
			out = append(out, instant(t.Add(-time.Hour)))
		} else if gap := between(at[i-1], t); gap.After(at[i-1]) {
			out = append(out, instant(gap))
		}
		out = append(out, instant(t))
		if i == len(at)-1 {
			out = append(out, instant(t.Add(time.Hour)))
		}
	}
	return out
}

// between returns the middle of two instants, or a where they are one nanosecond apart. A Duration holds 292 years
// only, so that it goes by seconds.
func between(a, b time.Time) time.Time {
	seconds := b.Unix() - a.Unix()
	if seconds > 2 {
		return time.Unix(a.Unix()+seconds/2, 0).UTC()
	}
	return a.Add(b.Sub(a) / 2)
}

// instant prints what parseDate reads: ISO 8601, or seconds where the year has not four digits.
func instant(t time.Time) string {
	if y := t.Year(); y > 0 && y < 10000 {
		return t.Format(time.RFC3339Nano)
	}
	r := new(big.Rat).SetFrac(big.NewInt(int64(t.Nanosecond())), big.NewInt(int64(time.Second)))
	r.Add(r, new(big.Rat).SetInt64(t.Unix()))
	return strings.TrimSuffix(strings.TrimRight(r.FloatString(9), "0"), ".")
}

// addresses returns the first address of every range that networks cut out of the two address spaces. IPv4 in IPv6
// notation may be either, so that each cut of one is a cut of the other.
func addresses(conds []*condition) []string {
	var cuts []netip.Addr
	cut := func(p netip.Prefix) {
		if !p.IsValid() {
			return
		}
		cuts = append(cuts, p.Addr())
		if next := last(p).Next(); next.IsValid() {
			cuts = append(cuts, next)
		}
	}
	for _, c := range conds {
		for _, v := range c.values {
			cut(v.network.sure)
			cut(v.network.wide)
		}
	}
	at := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.MustParseAddr("::ffff:0.0.0.0"),
		netip.MustParseAddr("::1:0:0:0")} // the last two bound IPv4 in IPv6 notation
	for _, a := range cuts {
		at = append(at, a)
		if a.Is4() {
			at = append(at, netip.AddrFrom16(a.As16()))
		} else if a.Is4In6() {
			at = append(at, a.Unmap())
		}
	}
	slices.SortFunc(at, netip.Addr.Compare)
	out := []string{unreadable}
	for _, a := range slices.Compact(at) {
		out = append(out, a.String())
	}
	return out
}

// last is the highest address of a network.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// binaries returns each value, another one, and none.
func binaries(conds []*condition) []string {
	out := []string{unreadable}
	other := "x"
	for _, c := range conds {
		for _, v := range c.values {
			out = append(out, base64.StdEncoding.EncodeToString([]byte(v.binary)))
			other += v.binary
		}
	}
	return append(out, base64.StdEncoding.EncodeToString([]byte(other)))
}
