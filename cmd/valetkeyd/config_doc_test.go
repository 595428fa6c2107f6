package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/goccy/go-yaml"

	example "github.com/valetkey/valetkey/testdata/catalog"
)

var update = flag.Bool("update", false, "write docs/config.md")

const (
	referenceFile = "../../docs/config.md"
	sampleFile    = "../../deploy/valetkeyd.yaml"
)

// TestConfigReference holds docs/config.md against the comments of Config, which it is made of.
func TestConfigReference(t *testing.T) {
	want := configReference(t)
	if *update {
		if err := os.WriteFile(referenceFile, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/config.md is not what the comments of Config say: make generate-config")
	}
}

// TestSampleConfig holds deploy/valetkeyd.yaml to what it says of itself: it loads as it is, with the example catalog, and
// with what is off in it turned on it has every key that there is, and no other.
func TestSampleConfig(t *testing.T) {
	raw, err := os.ReadFile(sampleFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "catalog"), example.Files); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(dir, "catalog"))); err != nil { // ceilings/ too
		t.Fatal(err)
	}
	file := filepath.Join(dir, "valetkeyd.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(raw), "/etc/valetkey/", dir+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&configCheckCmd{File: file}).Run(t.Context(), nil); err != nil {
		t.Error(err)
	}

	all := regexp.MustCompile(`(?m)^( *)#([a-z-])`).ReplaceAllString(string(raw), "$1$2")
	if err := yaml.UnmarshalWithOptions([]byte(all), new(Config), yaml.Strict()); err != nil {
		t.Fatal(yaml.FormatError(err, false, true))
	}
	var tree any
	if err := yaml.Unmarshal([]byte(all), &tree); err != nil {
		t.Fatal(err)
	}
	in, want := map[string]bool{}, map[string]bool{}
	keysIn(tree, reflect.TypeFor[Config](), "", in)
	keysOf(reflect.TypeFor[Config](), "", want)
	if len(want) < 50 {
		t.Errorf("Config has %d keys: they were not found", len(want))
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if !in[key] {
			t.Errorf("deploy/valetkeyd.yaml lacks %s", key)
		}
	}
}

// keysOf has the dotted path of each key of a struct; what has a name of the operator's is *.
func keysOf(of reflect.Type, at string, keys map[string]bool) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice:
		keysOf(of.Elem(), at, keys)
	case reflect.Map:
		keysOf(of.Elem(), at+".*", keys)
	case reflect.Struct:
		for f := range of.Fields() {
			key := strings.TrimPrefix(at+"."+f.Tag.Get("yaml"), ".")
			keys[key] = true
			keysOf(f.Type, key, keys)
		}
	default: // a value
	}
}

// keysIn has those of a YAML tree that is decoded to the struct.
func keysIn(tree any, of reflect.Type, at string, keys map[string]bool) {
	switch v := tree.(type) {
	case []any:
		for _, e := range v {
			keysIn(e, of.Elem(), at, keys)
		}
	case map[string]any:
		for name, e := range v {
			if of.Kind() == reflect.Map {
				keysIn(e, of.Elem(), at+".*", keys)
				continue
			}
			key := strings.TrimPrefix(at+"."+name, ".")
			keys[key] = true
			for f := range of.Fields() {
				if f.Tag.Get("yaml") == name {
					keysIn(e, f.Type, key, keys)
				}
			}
		}
	}
}

// comments are those of this package's structs and their fields, by type and by "type.field".
func comments(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			spec := gen.Specs[0].(*ast.TypeSpec)
			fields, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			out[spec.Name.Name] = gen.Doc.Text()
			for _, f := range fields.Fields.List {
				for _, n := range f.Names {
					out[spec.Name.Name+"."+n.Name] = f.Doc.Text()
				}
			}
		}
	}
	return out
}

// kinds are what a value is, by its Go type.
var kinds = map[string]string{
	"string": "text", "int": "number", "*int": "number", "bool": "true, false", "time.Duration": "duration", "*time.Duration": "duration",
	"[]string": "list of texts", "map[string]string": "texts by name", "main.Ceiling": "file, or list of files",
}

// configReference is docs/config.md.
func configReference(t *testing.T) string {
	t.Helper()
	says := comments(t)
	var b strings.Builder
	b.WriteString(`# The configuration of valetkeyd

One YAML file, which ` + "`valetkeyd serve --config FILE`" + ` reads when it starts. [deploy/valetkeyd.yaml](../deploy/valetkeyd.yaml) has every
key, with why one would set it; ` + "`valetkeyd config check FILE`" + ` tells every fault at once. An unknown key, a key that is there twice and a second
document are errors. A duration is a number with its unit: ` + "`90s`, `15m`, `720h`" + `. A file named here is the broker's to read, or to write where it
says so. ` + "`valetkey reload`" + ` reads catalog, policies and ceilings again; for the rest, start valetkeyd anew.

This page is made of the comments of ` + "`Config`" + ` in [cmd/valetkeyd](../cmd/valetkeyd/config.go) by ` + "`make generate-config`" + `.
`)
	section(t, &b, says, inner{of: reflect.TypeFor[Config]()})
	return b.String()
}

// inner is a section: a struct, where it stands, and what the table above has said of it.
type inner struct {
	of       reflect.Type
	at, said string
}

func section(t *testing.T, b *strings.Builder, says map[string]string, in inner) {
	t.Helper()
	if in.at != "" {
		fmt.Fprintf(b, "\n## `%s`\n", in.at)
	}
	if text := sentence(t, says, in.of.Name(), in.of.Name()); in.at != "" && text != in.said {
		fmt.Fprintf(b, "\n%s\n", text)
	}
	b.WriteString("\n| key | is | |\n|---|---|---|\n")
	var below []inner
	for f := range in.of.Fields() {
		key, kind, text := f.Tag.Get("yaml"), kinds[f.Type.String()], sentence(t, says, in.of.Name()+"."+f.Name, f.Name)
		if kind == "" {
			to := inner{f.Type, strings.TrimPrefix(in.at+"."+key, "."), text}
			kind = "[section](%s)"
			switch f.Type.Kind() {
			case reflect.Slice:
				to.of, kind = f.Type.Elem(), "list of [sections](%s)"
			case reflect.Map:
				to.of, to.at, kind = f.Type.Elem(), to.at+".NAME", "[sections](%s) by name"
			default: // one section
			}
			below = append(below, to)
			kind = fmt.Sprintf(kind, "#"+strings.ToLower(strings.ReplaceAll(to.at, ".", "")))
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", key, kind, text)
	}
	for _, to := range below {
		section(t, b, says, to)
	}
}

var (
	page = regexp.MustCompile(`docs/([a-z-]+\.md)`)
	// keyName is a key in a comment: of several words, or of several levels.
	keyName = regexp.MustCompile(`[a-z]+(\.[a-z_]+)*_[a-z_]+|\b(identity|guard|ledger)\.[a-z_]+`)
	quoted  = regexp.MustCompile(`"[^"]*"`)
)

// sentence is a comment as the page has it: without the Go name, in one line, with links and keys marked.
func sentence(t *testing.T, says map[string]string, of, name string) string {
	t.Helper()
	text := strings.Join(strings.Fields(says[of]), " ")
	text, ok := strings.CutPrefix(text, name+" ")
	if !ok {
		t.Errorf("the comment of %s does not begin with its name: %q", of, says[of])
		return ""
	}
	for _, verb := range []string{"is ", "are "} {
		text = strings.TrimPrefix(text, verb)
	}
	text = quoted.ReplaceAllStringFunc(text, func(s string) string { return "`" + strings.Trim(s, `"`) + "`" })
	parts := strings.Split(text, "`")
	for i := 0; i < len(parts); i += 2 { // outside of what is quoted
		parts[i] = keyName.ReplaceAllString(parts[i], "`$0`")
		parts[i] = page.ReplaceAllString(parts[i], "[$1]($1)")
	}
	text = strings.Join(parts, "`")
	r := []rune(strings.ReplaceAll(text, "|", `\|`))
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}
