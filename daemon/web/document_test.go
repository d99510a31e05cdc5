package web_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
)

// keysOf names every key of a JSON value, such as "accounts[].messages.held".
func keysOf(v any, at string, keys map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			name := key
			if at != "" {
				name = at + "." + key
			}
			keys[name] = true
			keysOf(value, name, keys)
		}
	case []any:
		for _, element := range v {
			keysOf(element, at+"[]", keys)
		}
	}
}

// TestStatusIsDocumented: each key of the status stands in its document, and
// nothing else does. The golden file has a value for every key.
func TestStatusIsDocumented(t *testing.T) {
	data, err := os.ReadFile("testdata/status.json")
	if err != nil {
		t.Fatal(err)
	}
	var status any
	if err := json.Unmarshal(data, &status); err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]bool)
	keysOf(status, "", keys)
	text, err := os.ReadFile("../../deploy/docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllSubmatch(text, -1) {
		documented[string(row[1])] = true
	}
	for _, what := range []struct {
		name        string
		have, other map[string]bool
	}{{"not documented", keys, documented}, {"documented, and not there", documented, keys}} {
		for _, key := range slices.Sorted(maps.Keys(what.have)) {
			if !what.other[key] {
				t.Error(fmt.Sprint(key, ": ", what.name))
			}
		}
	}
}
