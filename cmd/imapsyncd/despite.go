package main

import (
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon/config"
)

// despite returns the socket of a daemon that is running, for a command that
// can ask it though the configuration is wrong: the daemon goes on with the one
// before, and this is when one wants to ask. What is wrong is told first. Other
// errors, and that nobody runs, are the command's.
func (c *common) despite(cmd *cobra.Command, err error) (socket string, _ error) {
	var problems config.Problems
	if !errors.As(err, &problems) {
		return "", err
	}
	socket = config.Socket(c.configPath)
	conn, dialErr := net.Dial("unix", socket)
	if dialErr != nil {
		return "", err
	}
	conn.Close()
	fmt.Fprintf(cmd.ErrOrStderr(), "%v\nimapsyncd: the configuration is wrong; the daemon goes on with the one before\n", problems)
	return socket, nil
}
