package main

import (
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

// version is what the build knows about itself.
type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (c *versionCmd) Run(out *output) error {
	v := thisVersion()
	if out.json() {
		return out.value(v)
	}
	return out.table([][]string{{"valetkey", v.Version}, {"revision", v.Revision}, {"go", v.Go}, {"platform", v.Platform}})
}

func thisVersion() version {
	v := version{Version: "unknown", Revision: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	return v
}
