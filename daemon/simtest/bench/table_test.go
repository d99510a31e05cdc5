package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// results are the runs of one contender in one scenario, round by round.
type results struct {
	name  string
	runs  []usage
	equal string // the worst verdict
}

func (r *results) add(u usage, verdict string) {
	r.runs = append(r.runs, u)
	if r.equal == "" || r.equal == "yes" {
		r.equal = verdict
	}
}

func (r *results) median(of func(usage) float64) float64 {
	var all []float64
	for _, u := range r.runs {
		all = append(all, of(u))
	}
	return median(all)
}

// peak is the largest peak RSS of all runs, in octets.
func (r *results) peak() (rss int64) {
	for _, u := range r.runs {
		rss = max(rss, u.RSS)
	}
	return rss
}

func median(all []float64) float64 {
	slices.Sort(all)
	if len(all) == 0 {
		return 0
	}
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

func wall(u usage) float64 { return u.Wall.Seconds() }
func cpu(u usage) float64  { return u.CPU.Seconds() }

// ratio is the median over the rounds of what both took in the same round.
func ratio(a, b *results, of func(usage) float64) string {
	var all []float64
	for i := range min(len(a.runs), len(b.runs)) {
		if d := of(b.runs[i]); d > 0 {
			all = append(all, of(a.runs[i])/d)
		}
	}
	if len(all) == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", median(all))
}

// printTable prints a table in Markdown. Those before index own are ceilings,
// the first of them the one; at own is imapsyncd. Commands
// are those that were sent to the server that is far.
func printTable(w io.Writer, title string, all []*results, own int) {
	toCeiling := func(r *results, of func(usage) float64) string {
		if own == 0 {
			return "–"
		}
		return ratio(r, all[0], of)
	}
	fmt.Fprintf(w, "\n### %s\n\n", title)
	fmt.Fprintln(w, "| | runs | median | fastest–slowest | to the ceiling | to imapsyncd | CPU | CPU to the ceiling | peak RSS | commands | equal |")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|")
	for _, r := range all {
		if len(r.runs) == 0 {
			continue
		}
		var walls []time.Duration
		for _, u := range r.runs {
			walls = append(walls, u.Wall)
		}
		commands := "–"
		if n := r.median(func(u usage) float64 { return float64(u.Commands) }); n > 0 {
			commands = fmt.Sprintf("%.0f", n)
		}
		fmt.Fprintf(w, "| %s | %d | %.2f s | %.2f–%.2f s | %s | %s | %.2f s | %s | %.0f MiB | %s | %s |\n",
			r.name, len(r.runs), r.median(wall), slices.Min(walls).Seconds(), slices.Max(walls).Seconds(),
			toCeiling(r, wall), ratio(r, all[own], wall), r.median(cpu), toCeiling(r, cpu), float64(r.peak())/(1<<20), commands, cell(r.equal))
	}
}

// cell makes text fit into a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "\r", "").Replace(s)
}
