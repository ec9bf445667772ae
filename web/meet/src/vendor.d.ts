// Style sheets of packages that ship no types for them.
declare module "@livekit/components-styles/components/*";
