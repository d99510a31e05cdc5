package prometheus_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The width of Grafana's grid, and the units by its names that are used here.
const gridWidth = 24

var units = strings.Fields("short percent percentunit bytes Bps cps s dtdurations")

// source is what a panel, a target or a variable is asked of.
type source struct{ Type, UID string }

// layout is what of a dashboard has to fit together for Grafana to show it.
type layout struct {
	UID, Title    string
	SchemaVersion int
	Panels        []laidOut
	Templating    struct {
		List []struct {
			Name, Type, AllValue string
			Query                any
			IncludeAll           bool
			Datasource           source
		}
	}
}

// laidOut is a panel.
type laidOut struct {
	ID          int
	Type, Title string
	Datasource  source
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		Datasource                        source
		Expr, RefID, LegendFormat, Format string
		Instant                           bool
	}
	FieldConfig struct {
		Defaults  struct{ Unit string }
		Overrides []struct {
			Matcher    struct{ ID, Options string }
			Properties []struct {
				ID    string
				Value any
			}
		}
	}
	Transformations []struct {
		ID      string
		Options struct {
			ExcludeByName map[string]bool
			RenameByName  map[string]string
		}
	}
}

// TestDashboard: what Grafana needs of the dashboard is there. Panels have a number
// of their own each and a place where no other is, ask the datasource that is chosen,
// for the instances and domains that are chosen, and show numbers in a unit.
func TestDashboard(t *testing.T) {
	var d layout
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 { // before, a datasource was a name
		t.Errorf("uid %q, title %q, schema %d", d.UID, d.Title, d.SchemaVersion)
	}
	chosen := source{"prometheus", "${datasource}"}
	variables := []string{"__rate_interval"}
	for i, v := range d.Templating.List {
		variables = append(variables, v.Name)
		switch {
		case i == 0: // the others are asked of it
			if v.Name != "datasource" || v.Type != "datasource" || v.Query != "prometheus" {
				t.Errorf("the first variable is %+v", v)
			}
		case v.Type != "query" || v.Datasource != chosen || !v.IncludeAll || v.AllValue != ".*":
			t.Errorf("variable %+v", v)
		}
	}
	if len(variables) < 2 || len(d.Panels) < 30 {
		t.Fatalf("%d variables, %d panels", len(variables)-1, len(d.Panels))
	}

	ids := make(map[int]string)
	taken := make(map[[2]int]string)
	for _, p := range d.Panels {
		if other, there := ids[p.ID]; there || p.ID <= 0 || p.Title == "" {
			t.Errorf("%q and %q both have id %d", p.Title, other, p.ID)
		}
		ids[p.ID] = p.Title
		at := p.GridPos
		if at.X < 0 || at.Y < 0 || at.W < 1 || at.H < 1 || at.X+at.W > gridWidth {
			t.Errorf("%q is beside the grid: %+v", p.Title, at)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other, there := taken[[2]int{x, y}]; there {
					t.Fatalf("%q covers %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			if at.W != gridWidth || len(p.Targets) > 0 {
				t.Errorf("the row %q: %+v", p.Title, p)
			}
			continue
		}
		p.asks(t, chosen, variables)
		p.measures(t)
	}
}

// asks holds what a panel asks for.
func (p laidOut) asks(t *testing.T, chosen source, variables []string) {
	t.Helper()
	if p.Datasource != chosen || len(p.Targets) == 0 {
		t.Errorf("%q asks %v for %d things", p.Title, p.Datasource, len(p.Targets))
	}
	letters, legends := make(map[string]bool), make(map[string]bool)
	for _, q := range p.Targets {
		if q.Datasource != chosen || q.Expr == "" || q.RefID == "" || letters[q.RefID] || q.LegendFormat == "" || legends[q.LegendFormat] {
			t.Errorf("%q: target %+v", p.Title, q)
		}
		letters[q.RefID], legends[q.LegendFormat] = true, true
		if table := p.Type == "table"; table != (q.Format == "table") || (table || p.Type == "stat") != q.Instant {
			t.Errorf("%q is a %s of %+v", p.Title, p.Type, q)
		}
		for _, v := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(q.Expr, -1) {
			if !slices.Contains(variables, v[1]) {
				t.Errorf("%q asks for $%s, which there is not", p.Title, v[1])
			}
		}
		for _, selector := range regexp.MustCompile(`\b(?:up|(?:imapsyncd|process|go)_\w+)(\{[^}]*\})?`).FindAllStringSubmatch(q.Expr, -1) {
			if !strings.Contains(selector[1], `instance=~"$instance"`) {
				t.Errorf("%q asks for %s of every instance", p.Title, selector[0])
			}
		}
	}
	if !slices.Contains([]string{"table", "stat", "timeseries"}, p.Type) {
		t.Errorf("%q is a %s", p.Title, p.Type)
	}
}

// measures holds the units of a panel's numbers; a table has one for the column of
// its value, where it shows that.
func (p laidOut) measures(t *testing.T) {
	t.Helper()
	if p.Type != "table" {
		if !slices.Contains(units, p.FieldConfig.Defaults.Unit) {
			t.Errorf("%q has the unit %q", p.Title, p.FieldConfig.Defaults.Unit)
		}
		return
	}
	if len(p.Transformations) != 1 || p.Transformations[0].ID != "organize" {
		t.Fatalf("%q: transformations %+v", p.Title, p.Transformations)
	}
	columns := p.Transformations[0].Options
	for _, o := range p.FieldConfig.Overrides {
		for _, property := range o.Properties {
			unit, _ := property.Value.(string)
			if o.Matcher.ID == "byName" && o.Matcher.Options == columns.RenameByName["Value"] && property.ID == "unit" && slices.Contains(units, unit) {
				return
			}
		}
	}
	if !columns.ExcludeByName["Value"] {
		t.Errorf("%q shows numbers without a unit", p.Title)
	}
}
