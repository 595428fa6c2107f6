package iam

import (
	"fmt"
	"strings"
)

// kind is what a policy is for, since AWS reads an ARN by that. The zero value is refused.
type kind uint8

const (
	kindIdentity kind = iota + 1 // of a user, a group or a role; a boundary or a ceiling too
	kindSession                  // passed to AssumeRole and its kin
	kindResource                 // of a bucket, a key, a role's trust: it has principals, and nothing here evaluates it
)

// arnFields are the fields of an ARN: "arn", partition, service, Region, account, resource.
const arnFields = 6

// arnColons separate them. The resource may have colons of its own.
const arnColons = arnFields - 1

// fieldOK tells whether one of the first five fields is what it may be. AWS checks the partition and the service when it
// takes a policy ("Partition \"aws2\" is not valid", "The policy failed legacy parsing"); a "*" for the partition is in
// policies of its own, such as AmazonEKSVPCResourceController. No ARN has anything else in its Region or account: a "{",
// a "<" or a "%" there is a placeholder that nobody filled in.
func fieldOK(i int, f string) bool {
	switch i {
	case 0:
		return f == "arn"
	case 1:
		return f == "aws" || (madeOf(f, "*?-") && (strings.HasPrefix(f, "aws-") || strings.ContainsAny(f, "*?")))
	case 2:
		return f != "" && madeOf(f, "*?-")
	}
	return madeOf(f, "_*?.-")
}

// placeholder stands for a policy variable while the fields of an ARN are looked at; no text of a policy has it.
const placeholder = "x"

// resourcePattern compiles a value of Resource or NotResource into p, which is zero: "*", or an ARN. Anything else AWS refuses ("must be in
// ARN format or \"*\""), and so does this.
//
// Of an ARN with fewer than six fields AWS makes one with "*" in those that are missing, so that "arn:aws:sqs" is
// "arn:aws:sqs:*:*:*"; in a session policy it refuses it
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html, the Note on incomplete ARNs).
//
// A wildcard stays within its field
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html, "Using wildcards in
// resource ARNs"), but in the last one, which is the resource itself and may have colons.
//
// NOTE: These are unsure:
//   - a "*" that ends one of the first five fields and would have to go on across its colon: the page above says that it
//     "can expand to match beyond the colon boundaries", Amazon S3's says that it "can't span segments";
//   - a policy variable before the fifth colon, where the page on variables says that there can be none
//     (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html, "Resource element"), and a "$"
//     before anything but "{", for which it says to write "${$}".
func (m *memory) resourcePattern(p *pattern, text string, variables bool, k kind) error {
	p.source = text
	head := text[:plainLength(text)]
	switch rest := text[len(head):]; {
	case text == "*":
		m.ending(p, "", true)
		return nil
	case (rest == "" || rest == "*") && wholeHead(head): // as most are
		m.ending(p, head, rest != "")
		return checkFirst(text, head)
	case text != "arn" && !strings.HasPrefix(text, "arn:"):
		return fmt.Errorf(`%w: resource %q is neither "*" nor an ARN such as arn:aws:s3:::bucket/key`, ErrPolicy, text)
	}
	var err error
	if p.tokens, err = tokens(m.tokens(), text, variables, true); err != nil {
		return err
	}
	p.open = variables && bareDollar(text)
	n, err := p.checkFields(text)
	if err != nil {
		return err
	}
	if n < arnFields {
		if k == kindSession {
			whole := text + strings.Repeat(":*", arnFields-n)
			return fmt.Errorf("%w: resource %q has %d of an ARN's 6 fields, which AWS refuses in a session policy; "+
				"write %q if that is what you mean", ErrPolicy, text, n, whole)
		}
		for range arnFields - n {
			p.tokens = append(literal(p.tokens, ":"), token{kind: tokenMany})
		}
	}
	p.segment()
	p.tokens = m.keep(p.tokens)
	p.finish()
	return nil
}

func resourcePattern(text string, variables bool, k kind) (p pattern, err error) {
	err = new(memory).resourcePattern(&p, text, variables, k)
	return p, err
}

// wholeHead tells whether a text without wildcards reaches into the last field of an ARN.
func wholeHead(head string) bool {
	return strings.HasPrefix(head, "arn:") && strings.Count(head, ":") >= arnColons
}

// checkResource refuses what resourcePattern refuses. It builds nothing for "*" and for an ARN whose first wildcard is
// in its last field, as nearly all are.
func checkResource(text string, variables bool, k kind) error {
	if text == "*" {
		return nil
	}
	if head := text[:plainLength(text)]; wholeHead(head) && (!variables || strings.IndexByte(text[len(head):], '$') < 0) {
		return checkFirst(text, head)
	}
	_, err := resourcePattern(text, variables, k)
	return err
}

// plainLength returns how many bytes of the text come before its first wildcard or "$".
func plainLength(text string) int {
	for i := range len(text) {
		if c := text[i]; c == '*' || c == '?' || c == '$' {
			return i
		}
	}
	return len(text)
}

// checkFields holds the first five fields to their shapes and returns how many fields there are, six at most.
func (p *pattern) checkFields(text string) (int, error) {
	if head := p.tokens[0]; head.kind == tokenLiteral && strings.Count(head.text, ":") >= arnColons {
		return arnFields, checkFirst(text, head.text) // no wildcard before the resource
	}
	var b strings.Builder
	for _, t := range p.tokens {
		switch t.kind {
		case tokenLiteral:
			b.WriteString(t.text)
		case tokenOne:
			b.WriteByte('?')
		case tokenMany:
			b.WriteByte('*')
		case tokenVariable:
			if n := strings.Count(b.String(), ":"); n < arnColons {
				p.early = true
				if n < 3 {
					return 0, fmt.Errorf("%w: resource %q has a variable in its partition or service", ErrPolicy, text)
				}
			}
			b.WriteString(placeholder)
		}
	}
	n := min(strings.Count(b.String(), ":")+1, arnFields)
	if n < 2 {
		return 0, fmt.Errorf("%w: resource %q has no partition; everything is %q", ErrPolicy, text, "*")
	}
	return n, checkFirst(text, b.String())
}

// checkFirst holds the first five fields of a whole, or those that are there, to what they may be.
func checkFirst(text, whole string) error {
	more := true
	for i := 0; i < arnColons && more; i++ {
		var f string
		if f, whole, more = strings.Cut(whole, ":"); !fieldOK(i, f) {
			names := [...]string{"prefix", "partition", "service", "Region", "account"}
			return fmt.Errorf("%w: resource %q: %q is no %s of an ARN", ErrPolicy, text, f, names[i])
		}
	}
	return nil
}

// segment keeps the wildcards of an ARN of six fields in their own, and notes which ones end theirs. Where a field ends
// with "*" and all that follow are "*", one star for all of them says the same of every ARN.
func (p *pattern) segment() {
	colons, open := 0, -1
	for i := range p.tokens {
		t := &p.tokens[i]
		switch t.kind {
		case tokenLiteral:
			if t.text != ":" {
				open = -1
			}
			colons += strings.Count(t.text, ":")
		case tokenMany:
			if open < 0 {
				open = i
			}
			t.noColon = colons < arnColons
			t.ends = t.noColon && i+1 < len(p.tokens) && p.tokens[i+1].kind == tokenLiteral && p.tokens[i+1].text[0] == ':'
		default:
			t.noColon, open = colons < arnColons, -1
		}
	}
	if last := len(p.tokens) - 1; open >= 0 && colons == arnColons && p.tokens[last].kind == tokenMany {
		p.tokens = p.tokens[:open+1]
		p.tokens[open] = token{kind: tokenMany}
	}
	for i := range p.tokens {
		p.crosses = p.crosses || p.tokens[i].ends
	}
	if p.crosses {
		p.count()
	}
}

// count counts the colons of the literals.
func (p *pattern) count() {
	p.colons = 0
	for i := range p.tokens {
		if p.tokens[i].kind == tokenLiteral {
			p.colons += strings.Count(p.tokens[i].text, ":")
		}
	}
}

// bareDollar tells of a "$" that begins neither a variable nor one of IAM's escapes.
func bareDollar(text string) bool {
	if strings.IndexByte(text, '$') < 0 {
		return false
	}
	text = strings.ReplaceAll(text, "${$}", "")
	return strings.Count(text, "$") > strings.Count(text, "${")
}

// arnPattern compiles a value of ArnEquals or ArnLike, which are the same: each of the six fields is checked on its own
// and may have wildcards
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html, "ARN
// condition operators").
//
// NOTE: A value with fewer fields, "*" among them, is on no page: neither is it refused, nor is it said to be completed
// as in a Resource. What it would match if it were is unsure.
func arnPattern(text string, variables bool) (pattern, error) {
	p := pattern{source: text, arn: true, open: variables && bareDollar(text)}
	var err error
	if p.tokens, err = tokens(nil, text, variables, true); err != nil {
		return p, err
	}
	if p.finish(); !p.vars {
		p.tokens, p.open = separate(p.tokens, p.open)
		p.exact, p.prefix, p.head = false, false, ""
		p.finish()
	}
	return p, nil
}

// separate keeps the wildcards of an ARN condition in their fields. Fields that are missing become "*", and the pattern
// open.
func separate(ts []token, open bool) ([]token, bool) {
	colons := 0
	for i := range ts {
		if ts[i].kind == tokenLiteral {
			colons += strings.Count(ts[i].text, ":")
			continue
		}
		ts[i].noColon = colons < arnColons
	}
	for ; colons < arnColons; colons++ {
		ts, open = append(literal(ts, ":"), token{kind: tokenMany, noColon: colons+1 < arnColons}), true
	}
	return ts, open
}

// isARN tells whether a text of a request is an ARN of six fields, with a partition and a service.
func isARN(text string) bool {
	const head = "arn:"
	if !strings.HasPrefix(text, head) {
		return false
	}
	colons, from := 1, len(head) // where the field at hand begins
	for i := from; i < len(text); i++ {
		if text[i] != ':' {
			continue
		}
		if colons <= 2 && i == from {
			return false
		}
		if colons++; colons == arnColons {
			return true
		}
		from = i + 1
	}
	return false
}
