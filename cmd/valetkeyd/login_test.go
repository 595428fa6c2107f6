package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoginFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "login.json")
	for text, ok := range map[string]bool{
		`{"role_id":"r","secret_id":"hidden"}`: true,
		`{"role_id":"r","role_id":"hidden"}`:   false,
		`{"role_id":7,"secret_id":"hidden"}`:   false,
		`{"secret_id":"hidden"} {}`:            false,
		`{}`:                                   false,
		`null`:                                 false,
		``:                                     false,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		switch words, err := loginWords(file); {
		case (err == nil) != ok:
			t.Errorf("%s: %v, %v", text, words, err)
		case err != nil && strings.Contains(err.Error(), "hidden"):
			t.Errorf("the error quotes the file: %v", err)
		}
	}
}
