package daemon_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/imapsyncd/imapsyncd/"

// TestDirectImports keeps arrows pointing one way: each library has one home,
// and siblings meet only in the nouns.
func TestDirectImports(t *testing.T) {
	homes := map[string][]string{ // import path prefix → packages that may import it
		"github.com/emersion/go-imap/v2/imapclient": {}, // tests only
		"github.com/emersion/go-imap/v2/imapserver": {"daemon/demo"},
		"github.com/xdg-go/scram":                   {"daemon/remote"},
		"golang.org/x/oauth2":                       {"daemon/token"},
		"go.etcd.io/bbolt":                          {"state"},
		"github.com/fsnotify/fsnotify":              {"daemon/config"},
		"github.com/miekg/dns":                      {"daemon/cutover", "daemon/demo"},
		"github.com/prometheus/client_golang":       {"metrics", "daemon/web", "cmd/imapsyncd"},
		"github.com/prometheus/exporter-toolkit":    {"daemon/config", "daemon/web"},
		module + "daemon/simtest":                   {"daemon/simtest"},
	}
	// What a package may import of ours; packages that are not named may
	// import daemon/mail only.
	ours := map[string][]string{
		"cmd/imapsyncd": {"*"},
		"daemon":        {"*"},
		"daemon/mail":   {},
		"daemon/pass":   {"daemon/mail", "daemon/plan"},
		"daemon/verify": {"daemon/mail", "daemon/plan"},
	}
	for file, imports := range productImports(t) {
		pkg := path.Dir(file)
		if strings.HasPrefix(pkg, "daemon/simtest") {
			continue // test only
		}
		for _, imp := range imports {
			for lib, allowed := range homes {
				if (imp == lib || strings.HasPrefix(imp, lib+"/")) && !slices.Contains(allowed, pkg) {
					t.Errorf("%s imports %s, which belongs in %v", file, imp, allowed)
				}
			}
			own, ok := strings.CutPrefix(imp, module)
			if !ok {
				continue
			}
			allowed, named := ours[pkg]
			if !named {
				allowed = []string{"daemon/mail"}
			}
			if !slices.Contains(allowed, "*") && !slices.Contains(allowed, own) {
				t.Errorf("%s imports %s; package %s may import only %v of ours", file, own, pkg, allowed)
			}
		}
	}
}

// TestTransitiveImports keeps the pure packages free of IMAP and of the store,
// whatever their imports import.
func TestTransitiveImports(t *testing.T) {
	for _, pkg := range []string{"daemon/mail", "daemon/plan", "daemon/pass"} {
		out, err := exec.Command("go", "list", "-deps", module+pkg).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", pkg, err)
		}
		deps := strings.Fields(string(out))
		if len(deps) == 0 {
			t.Fatalf("go list -deps %s: nothing", pkg)
		}
		for _, dep := range deps {
			if strings.Contains(dep, "go-imap") || strings.Contains(dep, "bbolt") {
				t.Errorf("%s depends on %s", pkg, dep)
			}
			if first, _, _ := strings.Cut(dep, "/"); pkg == "daemon/mail" && strings.Contains(first, ".") && dep != module+pkg {
				t.Errorf("%s depends on %s; it may depend on the standard library only", pkg, dep)
			}
		}
	}
}

// productImports returns the imports of every Go file that is not a test, by
// path below the top of the module.
func productImports(t *testing.T) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(name, "../"))
		found[rel] = []string{}
		for _, spec := range f.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			found[rel] = append(found[rel], imp)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 10 {
		t.Fatalf("found only %d files", len(found))
	}
	return found
}
