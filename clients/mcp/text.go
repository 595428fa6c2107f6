package mcp

import (
	"unicode/utf8"

	"github.com/valetkey/valetkey/scopes/plaintext"
)

// Limits on text that others wrote, in bytes.
const (
	maxLine        = 512
	maxDescription = 1024
	maxPermissions = 32 << 10
)

// line makes one line of text that others wrote: at most limit bytes, without
// characters that drive a terminal, hide text or turn its direction.
func line(s string, limit int) string {
	return clip(plaintext.Clean(clipBytes(s, limit)), limit)
}

// block is line for text that may have several lines.
func block(s string, limit int) string {
	return clip(plaintext.CleanProse(clipBytes(s, limit)), limit)
}

// clipBytes keeps long text from being walked through whole.
func clipBytes(s string, limit int) string {
	if len(s) > limit+utf8.UTFMax {
		return s[:limit+utf8.UTFMax]
	}
	return s
}

const ellipsis = "…"

func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	s = s[:limit-len(ellipsis)]
	for len(s) > 0 {
		if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n > 1 {
			break
		}
		s = s[:len(s)-1]
	}
	return s + ellipsis
}

func lines(in []string) []string {
	out := make([]string, 0, min(len(in), maxItems))
	for _, s := range in[:min(len(in), maxItems)] {
		out = append(out, line(s, maxLine))
	}
	return out
}

// maxItems bounds lists that others wrote.
const maxItems = 64
