package iam

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"time"
)

// decimal is a number with an optional fraction, exact at any size. Numbers with exponents are not read: AWS says
// "integer or decimal".
type decimal struct {
	negative   bool
	whole      string // no leading zeros
	fractional string // no trailing zeros
}

func parseDecimal(s string) (decimal, bool) {
	var d decimal
	if s != "" && (s[0] == '-' || s[0] == '+') {
		d.negative, s = s[0] == '-', s[1:]
	}
	var dot bool
	d.whole, d.fractional, dot = strings.Cut(s, ".")
	if !digits(d.whole) || !digits(d.fractional) || d.whole == "" || (dot && d.fractional == "") {
		return decimal{}, false
	}
	d.whole, d.fractional = strings.TrimLeft(d.whole, "0"), strings.TrimRight(d.fractional, "0")
	if d.whole == "" && d.fractional == "" {
		d.negative = false
	}
	return d, true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// compare returns -1, 0 or 1.
func (d decimal) compare(e decimal) int {
	if d.negative != e.negative {
		if d.negative {
			return -1
		}
		return 1
	}
	c := len(d.whole) - len(e.whole)
	if c == 0 {
		c = strings.Compare(d.whole, e.whole)
	}
	if c == 0 {
		c = strings.Compare(d.fractional, e.fractional)
	}
	if d.negative {
		c = -c
	}
	return min(max(c, -1), 1)
}

// dateLayouts are the W3C's profile of ISO 8601 (https://www.w3.org/TR/NOTE-datetime), without the bare year.
var dateLayouts = [...]string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly, monthOnly} // read-only

const monthOnly = "2006-01"

// maxEpochDigits keeps seconds within what any calendar needs, some 30,000 years.
const maxEpochDigits = 12

// span is a date of IAM: an instant, or a day or a month that may be meant whole.
type span struct{ from, to time.Time }

// unclear tells whether t stands to the date differently if the date is meant whole.
func (s span) unclear(t time.Time) bool {
	return s.to.After(s.from) && !t.Before(s.from) && t.Before(s.to)
}

// yearDigits are as many as a year has.
const yearDigits = 4

// parseDate reads a date of IAM: the W3C's ISO 8601, or seconds since 1970, with or without a fraction. Four digits are
// neither: AWS allows both forms, and they could be a year.
func parseDate(s string) (span, bool) {
	if len(s) > yearDigits && s[yearDigits] == '-' {
		for _, layout := range dateLayouts {
			if t, err := time.Parse(layout, s); err == nil {
				d := span{t, t}
				switch layout {
				case time.DateOnly:
					d.to = t.AddDate(0, 0, 1)
				case monthOnly:
					d.to = t.AddDate(0, 1, 0)
				}
				return d, true
			}
		}
		return span{}, false
	}
	d, ok := parseDecimal(s)
	if !ok || len(d.whole) > maxEpochDigits || (len(s) == yearDigits && digits(s)) {
		return span{}, false
	}
	var seconds, nanos int64
	for i := range len(d.whole) {
		seconds = seconds*10 + int64(d.whole[i]-'0')
	}
	for i := range 9 {
		nanos *= 10
		if i < len(d.fractional) {
			nanos += int64(d.fractional[i] - '0')
		}
	}
	if d.negative {
		seconds, nanos = -seconds, -nanos
	}
	t := time.Unix(seconds, nanos)
	return span{t, t}, true
}

// network is a CIDR block of a policy, or one address.
type network struct {
	sure netip.Prefix // an address in it is in the network however AWS reads it
	wide netip.Prefix // an address outside it is not
}

// parseNetwork reads a CIDR block, or one address. With host bits, nothing is in it for sure but its own base address is
// unsaid too; an IPv6 address without a prefix may be its /32.
func parseNetwork(s string) (network, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		n := network{sure: p, wide: p.Masked()}
		if p != n.wide || p.Addr().Is4In6() {
			n.sure = netip.Prefix{}
		}
		return n, true
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return network{}, false
	}
	whole := netip.PrefixFrom(a, a.BitLen())
	switch {
	case a.Is4In6():
		return network{wide: whole}, true
	case a.Is6():
		return network{sure: whole, wide: netip.PrefixFrom(a, 32).Masked()}, true
	}
	return network{sure: whole, wide: whole}, true
}

// contains tells whether an address of a request is in the network. IPv4 in IPv6 notation, on either side, may be
// either.
func (n network) contains(a netip.Addr, env *environment) answer {
	one := func(a netip.Addr) answer {
		switch {
		case n.sure.IsValid() && n.sure.Contains(a):
			return yes
		case n.wide.Contains(a), n.wide.Addr().Is4In6() && a.Is4() && n.wide.Contains(netip.AddrFrom16(a.As16())):
			return unsure
		}
		return no
	}
	if !a.Is4In6() {
		return one(a)
	}
	asIt, asIPv4 := one(a), one(a.Unmap())
	switch {
	case asIt == asIPv4, env.about() == no:
		return asIt
	case env.about() == yes:
		return asIPv4
	}
	return unsure
}

// boolean is true or false as a text says it.
type boolean struct {
	value bool
	plain bool // in lower case, which AWS's pages use alone
}

// certain returns the answer, or unsure where it rests on a spelling that AWS's pages do not have. No spelling makes a
// yes of a no.
func (b boolean) certain(a answer) answer {
	if !b.plain {
		return a.and(unsure)
	}
	return a
}

func parseBool(s string) (b boolean, ok bool) {
	switch {
	case strings.EqualFold(s, "true"):
		return boolean{true, s == "true"}, true
	case strings.EqualFold(s, "false"):
		return boolean{false, s == "false"}, true
	}
	return boolean{}, false
}

func parseBinary(s string) (string, bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	return string(b), err == nil
}
