package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestReadmeKnowsImapsync: the table of imapsync's options says of each whether the
// command takes it, names keys and commands that there are, those that the command
// answers with among them, and leaves nothing out that it takes and no kind of what
// it refuses.
func TestReadmeKnowsImapsync(t *testing.T) {
	_, section, found := strings.Cut(read(t, "../../README.md"), "### From imapsync: what each option becomes\n")
	if !found {
		t.Fatal("README.md has no such section")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile(`(?m)^\| (.*) \| (yes|no) \| (.*) \|$`).FindAllStringSubmatch(section, -1)
	if lines := strings.Count(section, "\n|"); len(rows) != lines-2 { // beside the head and the line below it
		t.Errorf("%d of %d rows are read", len(rows), lines-2)
	}

	example := read(t, "../../imapsyncd.toml.example")
	keys, tables := make(map[string]bool), make(map[string]bool)
	for _, key := range regexp.MustCompile(`(?m)^#?([a-z_0-9]+) = `).FindAllStringSubmatch(example, -1) {
		keys[key[1]] = true
	}
	for _, table := range regexp.MustCompile(`(?m)^#?\[+([a-z_.]+)\]+`).FindAllStringSubmatch(example, -1) {
		tables["["+table[1]+"]"] = true
	}
	root := newRoot(&common{})
	command, _, err := root.Find([]string{"imapsync"})
	if err != nil {
		t.Fatal(err)
	}
	answers := make(map[string]string) // of the options that are refused
	for _, r := range refusals {
		for _, option := range strings.Fields(r.options) {
			answers[option] = r.instead
		}
	}
	quoted := regexp.MustCompile("`([^`]+)`")
	named := regexp.MustCompile(`\b(?:[a-z]+\.)?[a-z]+(?:_[a-z]+)+\b|\b(?:policy|limits|log)\.[a-z_]+`)

	listed := make(map[string]bool)
	for _, row := range rows {
		var has []string // keys
		for _, q := range quoted.FindAllStringSubmatch(row[3], -1) {
			switch what := q[1]; {
			case strings.HasPrefix(what, "imapsyncd "):
				if c, rest, err := root.Find(strings.Fields(what)[1:]); err != nil || len(rest) > 0 || c == root {
					t.Errorf("%s: there is no %q", row[1], what)
				}
			case strings.HasPrefix(what, "["):
				if !tables[what] {
					t.Errorf("%s: there is no table %s", row[1], what)
				}
			default:
				key, _, _ := strings.Cut(what, " =")
				if has = append(has, key); !keys[key] {
					t.Errorf("%s: there is no key %s", row[1], key)
				}
			}
		}
		for _, option := range quoted.FindAllStringSubmatch(row[1], -1) {
			name := strings.TrimPrefix(option[1], "--")
			if listed[name] {
				t.Errorf("--%s stands in two rows", name)
			}
			listed[name] = true
			flag := command.Flags().Lookup(name)
			if flag == nil {
				t.Errorf("--%s is not known", name)
				continue
			}
			if taken := !flag.Hidden; taken != (row[2] == "yes") {
				t.Errorf("--%s: taken is %q", name, row[2])
			}
			for _, key := range named.FindAllString(answers[name], -1) {
				key = key[strings.LastIndexByte(key, '.')+1:]
				if keys[key] && !slices.Contains(has, key) {
					t.Errorf("--%s: the command names %s, the table does not", name, key)
				}
			}
		}
	}

	twin := func(name string) bool { // the option of the old server stands for both
		first := strings.TrimSuffix(name, "2") + "1"
		flag := command.Flags().Lookup(first)
		return flag != nil && !flag.Hidden && listed[first]
	}
	command.LocalFlags().VisitAll(func(f *pflag.Flag) {
		ours := []string{"help", "config", "state-dir", "tlsservername1", "tlsservername2", "tlsfingerprint1", "tlsfingerprint2"}
		if !f.Hidden && !slices.Contains(ours, f.Name) && !listed[f.Name] && !twin(f.Name) {
			t.Errorf("--%s is taken and not in the table", f.Name)
		}
	})
	for _, r := range refusals {
		if !slices.ContainsFunc(strings.Fields(r.options), func(name string) bool { return listed[name] }) {
			t.Errorf("nothing like %s is in the table", r.options)
		}
	}
}
