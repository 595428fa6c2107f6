package environ

import (
	"fmt"
	"strings"
)

// plain are characters that no reader gives a meaning. "=" has one to zsh, which puts a command's path
// for "=NAME", and "%" to cmd.exe.
const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,-./:@_"

func isPlain(s string) bool { return s != "" && strings.Trim(s, plain) == "" }

// Word makes one word of any text without a NUL, for POSIX shells, bash, zsh, and what
// splits as they do: Python's shlex, Go's and JavaScript's AWS SDKs. No blank stands before a "#"
// or ";", where files of the AWS SDKs begin a comment.
func Word(s string) string {
	if isPlain(s) {
		return s
	}
	return "'" + strings.NewReplacer("'", `'\''`, " #", ` '\#'`, " ;", ` '\;'`, "\t#", "\t'\\#'", "\t;", "\t'\\;'").Replace(s) + "'"
}

// fishWord makes one word for fish.
func fishWord(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// cshWord makes one word for tcsh and csh, which look for history in quotes, too. A
// value of several lines has no spelling that all ways to read it take.
func cshWord(s string) (string, error) {
	if strings.ContainsAny(s, "\r\n") {
		return "", fmt.Errorf("%w: a line's end", ErrFormat)
	}
	return "'" + strings.NewReplacer("'", `'\''`, "!", `\!`).Replace(s) + "'", nil
}

// powershellWord makes one word for PowerShell, to which five characters are a single
// quote (about_Quoting_Rules; CodeGeneration.EscapeSingleQuotedStringContent).
func powershellWord(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		if strings.ContainsRune("'\u2018\u2019\u201a\u201b", r) {
			b.WriteRune(r)
		}
		b.WriteRune(r)
	}
	b.WriteByte('\'')
	return b.String()
}

// dotenvWord quotes what all readers of .env files take for the same, and refuses what
// some of them unescape, expand or cut.
func dotenvWord(s string) (string, error) {
	switch {
	case s != "" && strings.Trim(s, plain+"=%") == "":
		return s, nil
	case strings.ContainsAny(s, "'\\$`\r\n"):
		return "", fmt.Errorf("%w: a quote, $, a backslash or a line's end, which readers of .env files take differently", ErrFormat)
	}
	return "'" + s + "'", nil
}

// dockerWord is a value as docker's --env-file has it: the rest of the line.
func dockerWord(s string) (string, error) {
	if strings.ContainsAny(s, "\r\n") {
		return "", fmt.Errorf("%w: a line's end", ErrFormat)
	}
	return s, nil
}
