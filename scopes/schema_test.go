package scopes

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/jsonschema-go/jsonschema"
)

// The schema has the keys that the decoder has, at every level.
func TestSchemaHasTheFilesKeys(t *testing.T) {
	b, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(b, &root); err != nil {
		t.Fatal(err)
	}
	prop := func(m map[string]any, path ...string) map[string]any {
		for _, p := range path {
			next, ok := m[p].(map[string]any)
			if !ok {
				t.Fatalf("no %q in %v", p, path)
			}
			m = next
		}
		return m
	}
	for name, c := range map[string]struct {
		v      any
		schema map[string]any
	}{
		"scope":     {fileScope{}, root},
		"param":     {fileParam{}, prop(root, "properties", "params", "additionalProperties")},
		"statement": {fileStatement{}, prop(root, "properties", "statements", "items")},
		"path":      {filePath{}, prop(root, "properties", "paths", "items")},
		"ttl":       {fileTTL{}, prop(root, "properties", "ttl")},
		"bindings":  {fileBindings{}, prop(root, "properties", "bindings")},
	} {
		props := prop(c.schema, "properties")
		typ := reflect.TypeOf(c.v)
		if typ.NumField() != len(props) {
			t.Errorf("%s: %d keys in the file, %d in the schema", name, typ.NumField(), len(props))
		}
		for i := range typ.NumField() {
			if _, ok := props[typ.Field(i).Tag.Get("yaml")]; !ok {
				t.Errorf("%s: the schema lacks %q", name, typ.Field(i).Tag.Get("yaml"))
			}
		}
	}
}

// An independent validator takes the example catalog and refuses an unknown key.
func TestSchemaTakesTheExamples(t *testing.T) {
	b, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	rs, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../testdata/catalog/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range append(files, "testdata/bad/unknown-key.yaml", "testdata/bad/unknown-nested-key.yaml") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := yaml.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		if err := rs.Validate(v); (err == nil) != (filepath.Base(filepath.Dir(f)) == "catalog") {
			t.Errorf("%s: %v", f, err)
		}
	}
}
