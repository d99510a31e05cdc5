package config

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// position is a place in a file, both from 1. The file is that of the
// configuration where it is not named.
type position struct {
	file         string
	line, column int
}

// positions tells where each key stands: by its path, such as "source.host" or
// "account[2].name". A table stands where its header does.
func positions(data []byte) map[string]position {
	found := make(map[string]position)
	counts := make(map[string]int)
	var p unstable.Parser
	p.Reset(data)
	table := ""
	// The parser's own Shape counts lines from the beginning for each key, which takes
	// minutes where there are thousands of accounts.
	line, start := 1, 0
	place := func(offset int) position {
		for {
			end := bytes.IndexByte(data[start:max(start, offset)], '\n')
			if end < 0 {
				return position{line: line, column: offset - start + 1}
			}
			line, start = line+1, start+end+1
		}
	}
	for p.NextExpression() {
		e := p.Expression()
		var names []string
		var at position
		for it := e.Key(); it.Next(); {
			node := it.Node()
			if len(names) == 0 {
				at = place(int(node.Raw.Offset))
			}
			names = append(names, string(node.Data))
		}
		switch e.Kind {
		case unstable.Table:
			table = within(counts, names)
			found[table] = at
		case unstable.ArrayTable:
			plain := strings.Join(names, ".")
			table = plain + "[" + strconv.Itoa(counts[plain]) + "]"
			counts[plain]++
			found[table] = at
		case unstable.KeyValue:
			path := strings.Join(names, ".")
			if table != "" {
				path = table + "." + path
			}
			found[path] = at
		}
	}
	return found
}

// within is the path of a table that may lie in the last element of an array
// of tables.
func within(counts map[string]int, names []string) string {
	path := ""
	for i, name := range names {
		if i > 0 {
			path += "."
		}
		path += name
		if n := counts[path]; n > 0 && i < len(names)-1 {
			path += "[" + strconv.Itoa(n-1) + "]"
		}
	}
	return path
}
