package mcp

import (
	"bytes"
	"regexp"
	"strconv"
	"unicode/utf8"
)

// view is a text as it can be read out of output, and where in the output each byte
// of it stands: raw[from[i]:to[i]].
type view struct {
	text     []byte
	from, to []int32
}

func rawView(raw []byte) view {
	v := view{text: raw, from: make([]int32, len(raw)), to: make([]int32, len(raw))}
	for i := range raw {
		v.from[i], v.to[i] = int32(i), int32(i+1) // output is bounded, see maxOutput
	}
	return v
}

// put adds a byte that was read out of src.text[i:j].
func (v *view) put(b byte, src view, i, j int) {
	v.text, v.from, v.to = append(v.text, b), append(v.from, src.from[i]), append(v.to, src.to[j-1])
}

// gap keeps what is on both sides of src.text[i] apart.
func (v *view) gap(src view, i int) {
	if n := len(v.text); n > 0 && v.text[n-1] != 0 {
		v.put(0, src, i, i+1)
	}
}

// plain is v without white space and without the escapes of JSON, of C and of shells:
// what wraps lines and what quotes is gone.
func (v view) plain() (out view) {
	for i := 0; i < len(v.text); i++ {
		b := v.text[i]
		switch {
		case isSpace(b):
			continue
		case b != '\\' || i+1 == len(v.text):
			out.put(b, v, i, i+1)
			continue
		}
		end := i + 2
		switch c := v.text[i+1]; c {
		case 'n', 'r', 't':
		case 'u', 'x':
			digits := map[byte]int{'u': 4, 'x': 2}[c]
			end = min(end+digits, len(v.text))
			r, err := strconv.ParseUint(string(v.text[i+2:end]), 16, 32)
			if err != nil || end < i+2+digits { // no escape after all
				end = i + 2
				out.put(c, v, i, end)
				break
			}
			for _, b := range utf8.AppendRune(nil, rune(r)) { //nolint:gosec // four digits
				out.put(b, v, i, end)
			}
		default:
			if !isSpace(c) {
				out.put(c, v, i, end)
			}
		}
		i = end - 1
	}
	return out
}

func isSpace(b byte) bool { return b == ' ' || b >= '\t' && b <= '\r' }

// percent is v without the escapes of URLs (RFC 3986, section 2.1), whichever
// characters they escape, in either case.
func (v view) percent() (out view) {
	for i := 0; i < len(v.text); i++ {
		if v.text[i] == '%' && i+2 < len(v.text) {
			hi, lo := hexDigit(v.text[i+1]), hexDigit(v.text[i+2])
			if hi >= 0 && lo >= 0 {
				out.put(byte(hi<<4|lo), v, i, i+3) //nolint:gosec // two digits of four bits
				i += 2
				continue
			}
		}
		out.put(v.text[i], v, i, i+1)
	}
	return out
}

func hexDigit(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0')
	case b >= 'a' && b <= 'f':
		return int(b - 'a' + 10)
	case b >= 'A' && b <= 'F':
		return int(b - 'A' + 10)
	}
	return -1
}

func base64Digit(b byte) int {
	switch {
	case b >= 'A' && b <= 'Z':
		return int(b - 'A')
	case b >= 'a' && b <= 'z':
		return int(b - 'a' + 26)
	case b >= '0' && b <= '9':
		return int(b - '0' + 52)
	case b == '+' || b == '-':
		return 62
	case b == '/' || b == '_':
		return 63
	}
	return -1
}

// digits reads runs of digits of the given width in bits, each run from its digit
// skip on: base64 in both alphabets (6, skip 0 to 3) and hex (4, skip 0 and 1).
func (v view) digits(digit func(byte) int, width, skip int) (out view) {
	run, bits, held, first := 0, 0, 0, 0
	for i, b := range v.text {
		d := digit(b)
		if d < 0 {
			run, bits, held = 0, 0, 0
			out.gap(v, i)
			continue
		}
		if run++; run <= skip {
			continue
		}
		if bits == 0 {
			first = i
		}
		held, bits = held<<width|d, bits+width
		if bits >= 8 {
			bits -= 8
			out.put(byte(held>>bits), v, first, i+1) //nolint:gosec // the eight bits that are meant
			held &= 1<<bits - 1
			first = i // which the next byte may have a part of
		}
	}
	return out
}

// dumpLine is a line of od -tx1, xxd or hexdump -C: an offset, bytes in hex, and at
// the end maybe the same as text.
var dumpLine = regexp.MustCompile(`^\s*[0-9a-fA-F]{6,16}:?\s+((?:[0-9a-fA-F]{2,4}\s+)*[0-9a-fA-F]{2,4})(?:\s\s+(.*))?$`)

// dumps are the two columns of a dump.
func (v view) dumps() (hex, text view) {
	for at := 0; at < len(v.text); {
		end := len(v.text)
		if i := bytes.IndexByte(v.text[at:], '\n'); i >= 0 {
			end = at + i
		}
		if m := dumpLine.FindSubmatchIndex(v.text[at:end]); m != nil {
			for i := at + m[2]; i < at+m[3]; i++ {
				if !isSpace(v.text[i]) {
					hex.put(v.text[i], v, i, i+1)
				}
			}
			if m[4] >= 0 {
				from, to := at+m[4], at+m[5]
				if to-from > 1 && bytes.IndexByte([]byte("|>"), v.text[from]) >= 0 { // its frame
					from, to = from+1, to-1
				}
				for i := from; i < to; i++ {
					text.put(v.text[i], v, i, i+1)
				}
			}
		}
		at = end + 1
	}
	return hex, text
}

// eachView gives f all that raw can be read as, one after the other.
func eachView(raw []byte, f func(view)) {
	whole := rawView(raw)
	read := func(v view) {
		if len(v.text) == 0 {
			return
		}
		f(v)
		// Twice, for a text of JSON in one.
		once := v.plain()
		twice := once.plain()
		f(once)
		f(twice)
		f(twice.percent())
	}
	read(whole)
	flat := whole.plain()
	for skip := range 4 {
		read(flat.digits(base64Digit, 6, skip))
	}
	for skip := range 2 {
		read(flat.digits(hexDigit, 4, skip))
	}
	hex, text := whole.dumps()
	read(hex.digits(hexDigit, 4, 0))
	read(text)
}
