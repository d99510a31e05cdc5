package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the man pages anew")

// TestManPages: the pages are what the commands and imapsyncd.toml.example say.
// The example is held to the code by its own test, so that every key stands in
// all three.
func TestManPages(t *testing.T) {
	for name, page := range map[string]string{
		"imapsyncd.1":      commandsPage(t),
		"imapsyncd.toml.5": configPage(t),
	} {
		file := "../../deploy/man/" + name
		if *update {
			if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if committed := read(t, file); committed != page {
			t.Errorf("%s is not what the commands and the example say; run 'make man' and commit it", file)
		}
	}
}

// TestReadmeKnowsTheCommands: whoever has only the README learns of every
// command.
func TestReadmeKnowsTheCommands(t *testing.T) {
	readme := read(t, "../../README.md")
	for _, cmd := range allCommands(newRoot(&common{}))[1:] {
		if !cmd.HasSubCommands() && !strings.Contains(readme, cmd.CommandPath()) {
			t.Errorf("README.md does not mention '%s'", cmd.CommandPath())
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// commandsPage is imapsyncd(1).
func commandsPage(t *testing.T) string {
	root := newRoot(&common{})
	var m manual
	m.title("IMAPSYNCD", 1, root.Short)
	m.macro(".SH", "SYNOPSIS")
	m.line(`\fBimapsyncd\fR [\fB\-\-config\fR \fIFILE\fR] \fICOMMAND\fR [\fIOPTION\fR]... [\fIARGUMENT\fR]...`)
	m.macro(".SH", "DESCRIPTION")
	m.text(root.Long)
	m.options(root.PersistentFlags())
	m.macro(".SH", "COMMANDS")
	for _, cmd := range allCommands(root)[1:] {
		if cmd.IsAdditionalHelpTopicCommand() || cmd.Hidden {
			continue
		}
		m.macro(".SS", strings.TrimSuffix(cmd.UseLine(), " [flags]"))
		m.text(strings.TrimSuffix(sentence(cmd.Short)+"\n\n"+cmd.Long, "\n\n"))
		m.options(cmd.LocalFlags())
	}
	m.macro(".SH", "EXIT STATUS")
	codes := regexp.MustCompile(`(?m)^\| (\d) \| (.+) \|$`).FindAllStringSubmatch(read(t, "../../README.md"), -1)
	if len(codes) < 4 {
		t.Fatalf("README.md has %d exit codes", len(codes))
	}
	for _, code := range codes {
		m.item(code[1])
		m.text(sentence(code[2]))
	}
	m.macro(".SH", "SIGNALS")
	m.item("SIGTERM, SIGINT")
	m.text("End between two batches, within ten seconds, with exit status 0.")
	m.item("SIGHUP")
	m.text("run: read the configuration again.")
	m.macro(".SH", "FILES")
	m.item(defaultConfig)
	m.text("The configuration; see imapsyncd.toml(5).")
	m.item("/var/lib/imapsyncd")
	m.text("What has been carried, a file for each account, and the control socket (state_dir). Neither mail nor passwords.")
	m.macro(".SH", "SEE ALSO")
	m.line(`.BR imapsyncd.toml (5)`)
	return m.String()
}

// configPage is imapsyncd.toml(5), made of imapsyncd.toml.example: a comment
// belongs to the keys below it or on its line, a key without one to the key
// above it.
func configPage(t *testing.T) string {
	var m manual
	m.title("IMAPSYNCD.TOML", 5, "configuration of imapsyncd")
	m.macro(".SH", "DESCRIPTION")
	m.text("What follows is installed as a file to start from, too:\n/usr/share/doc/imapsyncd/imapsyncd.toml.example.")
	var keys, comment []string
	flush := func() {
		if keys != nil {
			m.item(keys...)
		} else if comment != nil {
			m.macro(".PP")
		}
		m.text(strings.Join(comment, "\n"))
		keys, comment = nil, nil
	}
	key := regexp.MustCompile(`^#?(\w+ = (?:"[^"]*"|\[[^]]*\]|\{[^}]*\}|[^ ]+))(?:\s+# (.*))?$`)
	table := regexp.MustCompile(`^#?(\[+[a-z._]+\]+)$`)
	for i, line := range strings.Split(read(t, "../../imapsyncd.toml.example"), "\n") {
		switch k, s := key.FindStringSubmatch(line), table.FindStringSubmatch(line); {
		case s != nil:
			about := comment
			if keys != nil {
				flush()
				about = nil
			}
			m.macro(".SH", s[1])
			m.text(strings.Join(about, "\n"))
			comment = nil
		case k != nil:
			if keys != nil && k[2] != "" {
				flush()
			}
			keys = append(keys, k[1])
			if k[2] != "" {
				comment = append(comment, sentence(k[2]))
			}
		case line == "" && keys == nil && comment == nil:
		case line == "":
			flush()
		case line == "#" || strings.HasPrefix(line, "# "):
			if keys != nil {
				flush()
			}
			comment = append(comment, strings.TrimPrefix(line[1:], " "))
		default:
			t.Fatalf("imapsyncd.toml.example:%d: neither comment, table nor key: %s", i+1, line)
		}
	}
	flush()
	m.macro(".SH", "SEE ALSO")
	m.line(`.BR imapsyncd (1)`)
	return m.String()
}

// sentence makes one of a help line.
func sentence(s string) string {
	return strings.TrimSuffix(s, ".") + "."
}

// manual is a page in man(7).
type manual struct{ bytes.Buffer }

func (m *manual) line(s string) { m.WriteString(s + "\n") }

// macro writes a request with one argument, or none.
func (m *manual) macro(name string, argument ...string) {
	for _, a := range argument {
		name += ` "` + strings.ReplaceAll(escape(a), `"`, `\(dq`) + `"`
	}
	m.line(name)
}

func (m *manual) title(name string, section int, about string) {
	m.line(`.\" Written by 'make man'; what it says stands in the commands and in imapsyncd.toml.example.`)
	m.line(fmt.Sprintf(`.TH %s %d "" imapsyncd imapsyncd`, name, section))
	m.macro(".SH", "NAME")
	m.line(escape(strings.ToLower(name)) + ` \- ` + escape(about))
}

// item starts a list item of one or more names, whose text follows.
func (m *manual) item(names ...string) {
	for i, name := range names {
		m.line([]string{".TP", ".TQ"}[min(i, 1)])
		m.line(`\fB` + escape(name) + `\fR`)
	}
}

// text writes paragraphs; lines that are indented are shown as they are.
func (m *manual) text(s string) {
	if s == "" {
		return
	}
	for i, paragraph := range strings.Split(s, "\n\n") {
		if i > 0 {
			m.macro(".PP")
		}
		asIs := strings.HasPrefix(paragraph, "    ")
		if asIs {
			m.macro(".EX")
		}
		for line := range strings.SplitSeq(paragraph, "\n") {
			m.line(escape(line))
		}
		if asIs {
			m.macro(".EE")
		}
	}
}

func (m *manual) options(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if value != "" {
			name += " " + strings.ToUpper(value)
		}
		m.item(name)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
			usage += "; by default " + f.DefValue
		}
		m.text(sentence(usage))
	})
}

// escape keeps roff from reading text as anything but text.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "…", "...").Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	return s
}
