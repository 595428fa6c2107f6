package environ

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Format is a way to write an environment down.
type Format string

// The formats. FormatPOSIX is for sh, bash and zsh.
const (
	FormatPOSIX      Format = "env"
	FormatFish       Format = "fish"
	FormatCsh        Format = "csh"
	FormatPowerShell Format = "powershell"
	FormatDotenv     Format = "dotenv"
	FormatDocker     Format = "docker"
)

// Formats are all formats by the names that people give them.
var Formats = map[string]Format{
	"env": FormatPOSIX, "sh": FormatPOSIX, "bash": FormatPOSIX, "zsh": FormatPOSIX, "fish": FormatFish, "csh": FormatCsh, "tcsh": FormatCsh,
	"powershell": FormatPowerShell, "dotenv": FormatDotenv, "docker": FormatDocker,
}

var (
	// ErrFormat is a value that a format cannot hold.
	ErrFormat = errors.New("this format cannot hold a value with")
	// ErrNotCleared is a variable that would win and that a format cannot clear.
	ErrNotCleared = errors.New("this format sets variables and clears none")
)

// Script is what a reader evaluates in, or reads into, the environment base, which is
// its own. It is all or an error.
func (e Environment) Script(f Format, base []string) ([]byte, error) {
	set, unset := e.Changes(base)
	var b strings.Builder
	names := slices.Sorted(maps.Keys(set))
	switch f {
	case FormatPOSIX:
		if len(unset) > 0 {
			fmt.Fprintf(&b, "unset %s\n", strings.Join(unset, " "))
		}
		for _, n := range names {
			fmt.Fprintf(&b, "export %s=%s\n", n, Word(set[n]))
		}
	case FormatFish:
		e.fish(&b, set, unset)
	case FormatCsh:
		// One line: in backquotes each line would be a word.
		for _, n := range unset {
			fmt.Fprintf(&b, "unsetenv %s; ", n)
		}
		for _, n := range names {
			w, err := cshWord(set[n])
			if err != nil {
				return nil, fmt.Errorf("writing %s: %w", n, err)
			}
			fmt.Fprintf(&b, "setenv %s %s; ", n, w)
		}
		b.WriteByte('\n')
	case FormatPowerShell:
		for _, n := range unset {
			fmt.Fprintf(&b, "Remove-Item -LiteralPath Env:%s -ErrorAction Ignore\n", n)
		}
		for _, n := range names {
			fmt.Fprintf(&b, "$Env:%s = %s\n", n, powershellWord(set[n]))
		}
	case FormatDotenv, FormatDocker:
		word := dockerWord
		if f == FormatDotenv {
			word = dotenvWord
			if err := e.unclear(base); err != nil {
				return nil, err
			}
		}
		for _, n := range names {
			w, err := word(set[n])
			if err != nil {
				return nil, fmt.Errorf("writing %s: %w", n, err)
			}
			fmt.Fprintf(&b, "%s=%s\n", n, w)
		}
	default:
		return nil, fmt.Errorf("no format %q", f)
	}
	return []byte(b.String()), nil
}

// unclear refuses a file for a reader whose own variables would win: what reads .env
// files clears nothing, and most of it leaves alone what is set.
func (e Environment) unclear(base []string) error {
	var win []string
	for _, kv := range base {
		if name, _, _ := strings.Cut(kv, "="); e.ambient(name) {
			win = append(win, name)
		}
	}
	if len(win) == 0 {
		return nil
	}
	slices.Sort(win)
	return fmt.Errorf("%w, and %s would win: unset what is set, or say valetkey exec", ErrNotCleared, strings.Join(win, ", "))
}

// fish hides a variable in place of erasing it: what is erased may show a universal one.
func (e Environment) fish(b *strings.Builder, set map[string]string, unset []string) {
	for _, n := range unset {
		fmt.Fprintf(b, "set -gu %s\n", n)
	}
	for _, n := range slices.Sorted(maps.Keys(set)) {
		fmt.Fprintf(b, "set -gx %s %s\n", n, fishWord(set[n]))
	}
}

// File is a script for a POSIX shell, bash and zsh, to be read into an environment that
// is not known yet: ". FILE && command". systemd's EnvironmentFile takes it, too: no
// line but those that set a variable has an equals sign, and systemd skips the others.
// It fails where a variable is readonly, so that the command does not run.
func (e Environment) File() []byte {
	set, unset := e.Changes(nil)
	var b strings.Builder
	// Tried in a subshell: what is readonly would make this one do anything from going on
	// to ending.
	fmt.Fprintf(&b, "(unset %s) || return 1\n", strings.Join(slices.Concat(unset, slices.Sorted(maps.Keys(set))), " "))
	if len(unset) > 0 {
		fmt.Fprintf(&b, "unset %s\n", strings.Join(unset, " "))
	}
	if all := e.prefixes(); len(all) > 0 {
		// One text and no list: the reader's IFS does not cut it.
		fmt.Fprintf(&b, "eval \"$(awk 'BEGIN { for (n in ENVIRON) if (n ~ /^(%s)[A-Za-z0-9_]*$/) print \"unset \" n \" || return 1\" }' || echo 'return 1')\"\n",
			strings.Join(all, "|"))
	}
	// A here-document gives a variable its value without the sign.
	for _, n := range [][2]string{{"NO_PROXY", "no_proxy"}, {"no_proxy", "NO_PROXY"}} {
		fmt.Fprintf(&b, "case ${%[1]s:-${%[2]s-}} in\n'*' | *%[3]s) ;;\n*)\n  read -r %[1]s << END\n${%[1]s:-${%[2]s:-localhost}},%[3]s\nEND\n  ;;\nesac\n", n[0], n[1], loopback)
		delete(set, n[0])
	}
	names := slices.Sorted(maps.Keys(set))
	for _, n := range names {
		fmt.Fprintf(&b, "%s=%s\n", n, Word(set[n]))
	}
	fmt.Fprintf(&b, "export %s NO_PROXY no_proxy\n", strings.Join(names, " "))
	return []byte(b.String())
}

func (e Environment) prefixes() (out []string) {
	for _, f := range e.families {
		out = append(out, f.prefixes...)
	}
	return out
}

// FishFile is File for fish.
func (e Environment) FishFile() []byte {
	set, unset := e.Changes(nil)
	delete(set, "NO_PROXY")
	delete(set, "no_proxy")
	var b strings.Builder
	if all := e.prefixes(); len(all) > 0 {
		fmt.Fprintf(&b, "for vk_name in (set -nx | string match -r '^(?:%s).*')\n  set -gu $vk_name\nend\nset -e vk_name\n", strings.Join(all, "|"))
	}
	for _, n := range [][2]string{{"NO_PROXY", "no_proxy"}, {"no_proxy", "NO_PROXY"}} {
		fmt.Fprintf(&b, "set vk_%[1]s (string join , $%[1]s)\ntest -n \"$vk_%[1]s\"; or set vk_%[1]s (string join , $%[2]s)\n", n[0], n[1])
	}
	for _, n := range []string{"NO_PROXY", "no_proxy"} {
		fmt.Fprintf(&b, "string match -q -- '*%[2]s' \"$vk_%[1]s\"; or test \"$vk_%[1]s\" = '*'; or set -gx %[1]s (string join , $vk_%[1]s %[2]s)\nset -e vk_%[1]s\n", n, loopback)
	}
	e.fish(&b, set, unset)
	return []byte(b.String())
}
