// Style sheets are bundled beside the module.
declare module "*.css";
