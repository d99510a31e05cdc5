//go:build race

package pass

const poisons = true
