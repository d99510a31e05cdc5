package main

import (
	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print what a shell needs to complete commands, options and accounts",
		Long: `completion prints a script for a shell. The packages have installed it; without
them, load it at the start of each shell:

    source <(imapsyncd completion bash)
    source <(imapsyncd completion zsh)
    imapsyncd completion fish | source`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(out)
			}
			return cmd.Root().GenFishCompletion(out, true)
		},
	}
}

// complete has the shells complete the values of a command's options.
func (c *common) complete(cmd *cobra.Command) {
	for flag, values := range map[string]func() []cobra.Completion{
		"account": c.accountNames,
		"phase":   func() []cobra.Completion { return texts(mail.Phases()) },
		"health":  func() []cobra.Completion { return texts(mail.Healths()) },
	} {
		if cmd.Flag(flag) == nil {
			continue
		}
		// The only error is that a parent has done it.
		_ = cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return values(), cobra.ShellCompDirectiveNoFileComp
		})
	}
}

// accountNames are those of the configuration; none where it cannot be read.
func (c *common) accountNames() []cobra.Completion {
	cfg, err := c.load()
	if err != nil {
		return nil
	}
	names := make([]cobra.Completion, len(cfg.Accounts))
	for i, a := range cfg.Accounts {
		names[i] = a.Name
	}
	return names
}

func texts[S ~string](values []S) []cobra.Completion {
	list := make([]cobra.Completion, len(values))
	for i, v := range values {
		list[i] = string(v)
	}
	return list
}
