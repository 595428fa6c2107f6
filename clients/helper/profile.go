package helper

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/clients/valetkey"
)

// profile is one of an AWS shared config file: docs.aws.amazon.com/sdkref/latest/guide/file-format.html.
// It holds no secret, and says whom to ask for one.
type profile struct{ command, region, endpoint string }

func (p profile) lines() string {
	var b strings.Builder
	fmt.Fprintf(&b, "credential_process = %s\n", p.command)
	if p.region != "" {
		fmt.Fprintf(&b, "region = %s\n", p.region)
	}
	if p.endpoint != "" {
		fmt.Fprintf(&b, "endpoint_url = %s\n", p.endpoint)
	}
	return b.String()
}

// profiles is a whole config file.
type profiles struct{ buf bytes.Buffer }

func (f *profiles) add(name string, p profile) {
	fmt.Fprintf(&f.buf, "[profile %s]\n%s", name, p.lines())
}

func (f *profiles) defaults(region string) {
	if region != "" {
		fmt.Fprintf(&f.buf, "[default]\nregion = %s\n", region)
	}
}

func (f *profiles) text() []byte { return f.buf.Bytes() }

// pgpassLine is a line of libpq's password file:
// postgresql.org/docs/current/libpq-pgpass.html. A zero port is any.
func pgpassLine(host string, port int, database string, l valetkey.Login) string {
	at := "*"
	if port != 0 {
		at = fmt.Sprint(port)
	}
	escape := strings.NewReplacer(`\`, `\\`, ":", `\:`)
	return strings.Join([]string{
		escape.Replace(host), at, escape.Replace(database), escape.Replace(l.Username), escape.Replace(l.Password()),
	}, ":") + "\n"
}
