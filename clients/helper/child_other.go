//go:build !linux

package helper

import "syscall"

func childAttr() *syscall.SysProcAttr { return nil }

func guardAttr() *syscall.SysProcAttr { return nil }
