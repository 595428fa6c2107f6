package agent

import (
	"errors"
	"strings"
	"testing"
	"text/template"
)

func TestTemplates(t *testing.T) {
	data := TemplateData{Task: "t", Login: &TemplateLogin{Username: "u", Password: "p"}, Data: map[string]any{"k": "v"}}
	for text, want := range map[string]string{
		"{{.Login.Username}}:{{.Login.Password}}": "u:p", "{{.Data.k}}": "v", "{{.Data.none}}": "", "{{.AWS.Region}}": "", "{{.None}}": "", "{{": "",
	} {
		got, err := render(TemplateOutput{Text: text, File: "f"}, data)
		if (err != nil) != (want == "") || string(got) != want {
			t.Errorf("%s gives %q, %v", text, got, err)
		}
		if err != nil && strings.Contains(err.Error(), `"p"`) {
			t.Errorf("%s: the error has the secret: %v", text, err)
		}
	}
}

// TestTemplateErrorsNameNoValue is what goes to the log and the status.
func TestTemplateErrorsNameNoValue(t *testing.T) {
	const secret = "S3CR3T"
	data := TemplateData{Login: &TemplateLogin{Username: "u", Password: secret}, Data: map[string]any{"secret": secret, "n": 1, "list": []any{secret}, "map": map[string]any{"a": 1}}}
	for text, field := range map[string]string{
		"\n{{range .Data.secret}}{{end}}": ":2:13: executing \"f\" at <.Data.secret>", "{{index .Data.map .Data.secret .Data.secret}}": "index", "{{.Data.secret.x}}": ".Data.secret.x",
		"{{slice .Data.secret 9}}": "slice", "{{index .Data.list .Data.secret}}": "index", "{{lt .Data.secret .Data.n}}": "lt", "{{template \"x\" .Data.secret}}": "x",
		"{{call .Data.secret}}": "call", "{{len .Data.n}}": "len", "{{with $x := .Data.secret}}{{$x.y}}{{end}}": "$x.y",
	} {
		_, err := render(TemplateOutput{Text: text, File: "f"}, data)
		if err == nil || !strings.Contains(err.Error(), field) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", text, err)
		}
		var failed template.ExecError
		if errors.As(err, &failed) {
			t.Errorf("%s: the error has what text/template says", text)
		}
	}
}
