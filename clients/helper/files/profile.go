package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unicode"

	"github.com/valetkey/valetkey/clients/environ"
	"github.com/valetkey/valetkey/clients/valetkey"
	"github.com/valetkey/valetkey/clients/valetkey/database"
)

// Program is the path of the valetkey command, which profiles name; this program's where
// none is given.
func Program(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program: %w", err)
	}
	return path, nil
}

// Profile is one of an AWS shared config file: docs.aws.amazon.com/sdkref/latest/guide/file-format.html.
// It holds no secret, and says whom to ask for one.
type Profile struct{ command, region, endpoint string }

// NewProfile is of a session that program asks the socket for.
func NewProfile(program, socket string, session valetkey.AWSSecret) (Profile, error) {
	command, err := processCommand(program, socket)
	return Profile{command: command, region: session.Region, endpoint: session.Endpoint}, err
}

// Profiles is a whole config file. The zero value is an empty one.
type Profiles struct{ buf bytes.Buffer }

// Add adds a profile.
func (f *Profiles) Add(name string, p Profile) {
	fmt.Fprintf(&f.buf, "[profile %s]\ncredential_process = %s\n", name, p.command)
	if p.region != "" {
		fmt.Fprintf(&f.buf, "region = %s\n", p.region)
	}
	if p.endpoint != "" {
		fmt.Fprintf(&f.buf, "endpoint_url = %s\n", p.endpoint)
	}
}

// Default adds a default profile that has a region alone; none where that is empty.
func (f *Profiles) Default(region string) {
	if region != "" {
		fmt.Fprintf(&f.buf, "[default]\nregion = %s\n", region)
	}
}

// Text is what the file holds.
func (f *Profiles) Text() []byte { return f.buf.Bytes() }

// PassLine is a line of libpq's password file:
// postgresql.org/docs/current/libpq-pgpass.html. A zero port is any.
func PassLine(host string, port int, database string, l database.Login) string {
	at := "*"
	if port != 0 {
		at = fmt.Sprint(port)
	}
	escape := strings.NewReplacer(`\`, `\\`, ":", `\:`)
	return strings.Join([]string{
		escape.Replace(host), at, escape.Replace(database), escape.Replace(l.Username), escape.Replace(l.Password()),
	}, ":") + "\n"
}

// errLine is a path that would begin a line of its own in a config file.
var errLine = errors.New("the path has a control character, which no AWS config file can hold: choose another TMPDIR or folder")

// processCommand is the line of a profile that asks the socket.
func processCommand(program, socket string) (string, error) {
	if strings.ContainsFunc(program+socket, unicode.IsControl) {
		return "", fmt.Errorf("writing a profile that runs %q for %q: %w", program, socket, errLine)
	}
	return quoteWord(program) + " agent credential --socket " + quoteWord(socket), nil
}

// quoteWord keeps a path one word for the SDKs: those of Go and JavaScript have a shell
// run the line, Python's splits it as a shell does, and all of them on Windows give it to the
// system's own.
func quoteWord(s string) string {
	if runtime.GOOS == "windows" {
		return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"`
	}
	return environ.Word(s)
}
